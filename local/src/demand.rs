//! What a pod asks of its node: the sum of what its containers request, or are limited to.
//!
//! Pure: from specs to quantities.
//! Source: k8s.io/component-helpers `resource/helpers.go`.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::schema::quantity::{Amount, parse};

/// Amounts by the name of their resource.
pub type Demand = BTreeMap<String, Amount>;

/// Of the two lists of resources that a container has, one.
type List = fn(&ResourceRequirements) -> Option<&BTreeMap<String, Quantity>>;

/// What the pod has to get: what it needs most of at any moment of its life, but for the containers that are left out.
pub fn requests(spec: &PodSpec, is_left_out: &dyn Fn(&Container) -> bool) -> Demand {
    sum(spec, |it| it.requests.as_ref(), is_left_out)
}

/// What the pod may take at most, of the resources that its containers limit.
pub fn limits(spec: &PodSpec) -> Demand {
    sum(spec, |it| it.limits.as_ref(), &|_| false)
}

/// Adds one demand to another.
pub fn add(to: &mut Demand, more: &Demand) {
    for (name, amount) in more {
        let sum = to.entry(name.clone()).or_insert(Amount::ZERO);
        *sum = sum.plus(*amount);
    }
}

fn sum(spec: &PodSpec, list: List, is_left_out: &dyn Fn(&Container) -> bool) -> Demand {
    let mut total = Demand::new();
    for container in spec.containers.iter().filter(|it| !is_left_out(it)) {
        add(&mut total, &of(container, list));
    }
    // Before the containers run, each init container runs beside the sidecars that came before it.
    let (mut sidecars, mut before) = (Demand::new(), Demand::new());
    for container in spec.init_containers.iter().flatten().filter(|it| !is_left_out(it)) {
        let mut asked = of(container, list);
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut total, &asked);
            add(&mut sidecars, &asked);
            asked = sidecars.clone();
        } else {
            add(&mut asked, &sidecars);
        }
        raise(&mut before, asked);
    }
    raise(&mut total, before);
    // What is said of the whole pod counts in place of the sum.
    for (name, amount) in spec.resources.as_ref().and_then(list).into_iter().flatten() {
        total.insert(name.clone(), parse(&amount.0).unwrap_or(Amount::ZERO));
    }
    add(&mut total, &spec.overhead.as_ref().map(read).unwrap_or_default());
    total
}

fn of(container: &Container, list: List) -> Demand {
    container.resources.as_ref().and_then(list).map(read).unwrap_or_default()
}

fn read(list: &BTreeMap<String, Quantity>) -> Demand {
    let amount = |it: &Quantity| parse(&it.0).unwrap_or(Amount::ZERO);
    list.iter().map(|(name, it)| (name.clone(), amount(it))).collect()
}

fn raise(to: &mut Demand, least: Demand) {
    for (name, amount) in least {
        let known = to.entry(name).or_insert(amount);
        *known = amount.max(*known);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_needs_what_its_containers_need_at_the_same_time() {
        let with = |cpu: &str| json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
        let sidecar = |cpu: &str| {
            let mut it = with(cpu);
            it["restartPolicy"] = json!("Always");
            it
        };
        #[track_caller]
        fn check(spec: Value, milli: i64) {
            let spec: PodSpec = serde_json::from_value(spec).unwrap();
            let cpu = requests(&spec, &|_| false).get("cpu").map_or(0, |it| it.thousandths());
            assert_eq!(cpu, milli);
        }
        check(json!({"containers": [{"name": "c"}]}), 0);
        check(json!({"containers": [with("1"), with("500m")]}), 1500);
        check(json!({"containers": [with("1")], "initContainers": [with("2"), with("1")]}), 2000);
        check(
            json!({"containers": [with("1")], "initContainers": [sidecar("1"), with("2")]}),
            3000,
        );
        check(
            json!({"containers": [with("1")], "initContainers": [with("1"), sidecar("1")]}),
            2000,
        );
        check(json!({"containers": [with("1")], "overhead": {"cpu": "250m"}}), 1250);
        check(json!({"containers": [with("1")], "resources": {"requests": {"cpu": "3"}}}), 3000);
    }
}
