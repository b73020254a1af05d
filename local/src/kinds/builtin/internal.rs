//! Pod templates in the form of Kubernetes' internal types, which some error texts show.
//!
//! Pure: a value in, a text out.
//! Source: Kubernetes' `pkg/apis/core/types.go`: the order and names of the fields.

use serde_json::Value;

/// How a field is written when it is absent.
#[derive(Clone, Copy)]
enum Empty {
    Null,
    Text,
    False,
    Zero,
    /// A struct with fields of its own.
    Struct(&'static [Field]),
}

/// The name in the object, Go's name, what is written when it is absent, the fields of what it holds.
struct Field(&'static str, &'static str, Empty, &'static [Field]);

const NONE: &[Field] = &[];

const RESOURCES: &[Field] = &[
    Field("limits", "Limits", Empty::Null, NONE),
    Field("requests", "Requests", Empty::Null, NONE),
    Field("claims", "Claims", Empty::Null, NONE),
];

const PORT: &[Field] = &[
    Field("name", "Name", Empty::Text, NONE),
    Field("hostPort", "HostPort", Empty::Zero, NONE),
    Field("containerPort", "ContainerPort", Empty::Zero, NONE),
    Field("protocol", "Protocol", Empty::Text, NONE),
    Field("hostIP", "HostIP", Empty::Text, NONE),
];

const ENV: &[Field] = &[
    Field("name", "Name", Empty::Text, NONE),
    Field("value", "Value", Empty::Text, NONE),
    Field("valueFrom", "ValueFrom", Empty::Null, NONE),
];

const MOUNT: &[Field] = &[
    Field("name", "Name", Empty::Text, NONE),
    Field("readOnly", "ReadOnly", Empty::False, NONE),
    Field("recursiveReadOnly", "RecursiveReadOnly", Empty::Null, NONE),
    Field("mountPath", "MountPath", Empty::Text, NONE),
    Field("subPath", "SubPath", Empty::Text, NONE),
    Field("mountPropagation", "MountPropagation", Empty::Null, NONE),
    Field("subPathExpr", "SubPathExpr", Empty::Text, NONE),
];

const CONTAINER: &[Field] = &[
    Field("name", "Name", Empty::Text, NONE),
    Field("image", "Image", Empty::Text, NONE),
    Field("command", "Command", Empty::Null, NONE),
    Field("args", "Args", Empty::Null, NONE),
    Field("workingDir", "WorkingDir", Empty::Text, NONE),
    Field("ports", "Ports", Empty::Null, PORT),
    Field("envFrom", "EnvFrom", Empty::Null, NONE),
    Field("env", "Env", Empty::Null, ENV),
    Field("resources", "Resources", Empty::Struct(RESOURCES), RESOURCES),
    Field("resizePolicy", "ResizePolicy", Empty::Null, NONE),
    Field("restartPolicy", "RestartPolicy", Empty::Null, NONE),
    Field("restartPolicyRules", "RestartPolicyRules", Empty::Null, NONE),
    Field("volumeMounts", "VolumeMounts", Empty::Null, MOUNT),
    Field("volumeDevices", "VolumeDevices", Empty::Null, NONE),
    Field("livenessProbe", "LivenessProbe", Empty::Null, NONE),
    Field("readinessProbe", "ReadinessProbe", Empty::Null, NONE),
    Field("startupProbe", "StartupProbe", Empty::Null, NONE),
    Field("lifecycle", "Lifecycle", Empty::Null, NONE),
    Field("terminationMessagePath", "TerminationMessagePath", Empty::Text, NONE),
    Field("terminationMessagePolicy", "TerminationMessagePolicy", Empty::Text, NONE),
    Field("imagePullPolicy", "ImagePullPolicy", Empty::Text, NONE),
    Field("securityContext", "SecurityContext", Empty::Null, NONE),
    Field("stdin", "Stdin", Empty::False, NONE),
    Field("stdinOnce", "StdinOnce", Empty::False, NONE),
    Field("tty", "TTY", Empty::False, NONE),
];

const SECURITY: &[Field] = &[
    Field("hostNetwork", "HostNetwork", Empty::False, NONE),
    Field("hostPID", "HostPID", Empty::False, NONE),
    Field("hostIPC", "HostIPC", Empty::False, NONE),
    Field("shareProcessNamespace", "ShareProcessNamespace", Empty::Null, NONE),
    Field("hostUsers", "HostUsers", Empty::Null, NONE),
    Field("seLinuxOptions", "SELinuxOptions", Empty::Null, NONE),
    Field("windowsOptions", "WindowsOptions", Empty::Null, NONE),
    Field("runAsUser", "RunAsUser", Empty::Null, NONE),
    Field("runAsGroup", "RunAsGroup", Empty::Null, NONE),
    Field("runAsNonRoot", "RunAsNonRoot", Empty::Null, NONE),
    Field("supplementalGroups", "SupplementalGroups", Empty::Null, NONE),
    Field("supplementalGroupsPolicy", "SupplementalGroupsPolicy", Empty::Null, NONE),
    Field("fsGroup", "FSGroup", Empty::Null, NONE),
    Field("fsGroupChangePolicy", "FSGroupChangePolicy", Empty::Null, NONE),
    Field("sysctls", "Sysctls", Empty::Null, NONE),
    Field("seccompProfile", "SeccompProfile", Empty::Null, NONE),
    Field("appArmorProfile", "AppArmorProfile", Empty::Null, NONE),
    Field("seLinuxChangePolicy", "SELinuxChangePolicy", Empty::Null, NONE),
];

const TOLERATION: &[Field] = &[
    Field("key", "Key", Empty::Text, NONE),
    Field("operator", "Operator", Empty::Text, NONE),
    Field("value", "Value", Empty::Text, NONE),
    Field("effect", "Effect", Empty::Text, NONE),
    Field("tolerationSeconds", "TolerationSeconds", Empty::Null, NONE),
];

const SPEC: &[Field] = &[
    Field("volumes", "Volumes", Empty::Null, NONE),
    Field("initContainers", "InitContainers", Empty::Null, CONTAINER),
    Field("containers", "Containers", Empty::Null, CONTAINER),
    Field("ephemeralContainers", "EphemeralContainers", Empty::Null, CONTAINER),
    Field("restartPolicy", "RestartPolicy", Empty::Text, NONE),
    Field("terminationGracePeriodSeconds", "TerminationGracePeriodSeconds", Empty::Null, NONE),
    Field("activeDeadlineSeconds", "ActiveDeadlineSeconds", Empty::Null, NONE),
    Field("dnsPolicy", "DNSPolicy", Empty::Text, NONE),
    Field("nodeSelector", "NodeSelector", Empty::Null, NONE),
    Field("serviceAccountName", "ServiceAccountName", Empty::Text, NONE),
    Field("automountServiceAccountToken", "AutomountServiceAccountToken", Empty::Null, NONE),
    Field("nodeName", "NodeName", Empty::Text, NONE),
    Field("securityContext", "SecurityContext", Empty::Struct(SECURITY), SECURITY),
    Field("imagePullSecrets", "ImagePullSecrets", Empty::Null, NONE),
    Field("hostname", "Hostname", Empty::Text, NONE),
    Field("subdomain", "Subdomain", Empty::Text, NONE),
    Field("setHostnameAsFQDN", "SetHostnameAsFQDN", Empty::Null, NONE),
    Field("affinity", "Affinity", Empty::Null, NONE),
    Field("schedulerName", "SchedulerName", Empty::Text, NONE),
    Field("tolerations", "Tolerations", Empty::Null, TOLERATION),
    Field("hostAliases", "HostAliases", Empty::Null, NONE),
    Field("priorityClassName", "PriorityClassName", Empty::Text, NONE),
    Field("priority", "Priority", Empty::Null, NONE),
    Field("preemptionPolicy", "PreemptionPolicy", Empty::Null, NONE),
    Field("dnsConfig", "DNSConfig", Empty::Null, NONE),
    Field("readinessGates", "ReadinessGates", Empty::Null, NONE),
    Field("runtimeClassName", "RuntimeClassName", Empty::Null, NONE),
    Field("overhead", "Overhead", Empty::Null, NONE),
    Field("enableServiceLinks", "EnableServiceLinks", Empty::Null, NONE),
    Field("topologySpreadConstraints", "TopologySpreadConstraints", Empty::Null, NONE),
    Field("os", "OS", Empty::Null, NONE),
    Field("schedulingGates", "SchedulingGates", Empty::Null, NONE),
    Field("resourceClaims", "ResourceClaims", Empty::Null, NONE),
    Field("resources", "Resources", Empty::Null, RESOURCES),
    Field("hostnameOverride", "HostnameOverride", Empty::Null, NONE),
    Field("schedulingGroup", "SchedulingGroup", Empty::Null, NONE),
];

/// A pod template on one line.
pub(super) fn pod_template(template: &Value) -> String {
    let mut written = String::from("{");
    for field in ["name", "generateName", "namespace", "labels", "annotations"] {
        if let Some(value) = template["metadata"].get(field) {
            written += &format!("\"{field}\":{value},");
        }
    }
    let mut lines = Writer { text: written, indent: None };
    lines.text += "\"Spec\":";
    lines.object(&host_in_security(&template["spec"]), SPEC, 0);
    lines.text + "}"
}

/// The lines in which two pod specs differ, with three lines around each, as `diff -u` writes them.
pub(super) fn spec_difference(old: &Value, new: &Value) -> String {
    let lines = |spec: &Value| {
        let mut lines = Writer { text: String::new(), indent: Some(()) };
        lines.object(&host_in_security(spec), SPEC, 0);
        lines.text
    };
    unified(&lines(old), &lines(new))
}

/// The internal type keeps what a pod shares with its host in its security context.
fn host_in_security(spec: &Value) -> Value {
    let mut spec = spec.clone();
    for field in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers"] {
        if let Some(value) = crate::kinds::walk::remove(&mut spec, field) {
            crate::kinds::walk::child(&mut spec, "securityContext")[field] = value;
        }
    }
    spec
}

struct Writer {
    text: String,
    /// With line breaks and an indent of one.
    indent: Option<()>,
}

impl Writer {
    fn object(&mut self, value: &Value, fields: &[Field], depth: usize) {
        self.text.push('{');
        for (at, Field(name, shown, empty, inner)) in fields.iter().enumerate() {
            self.separate(at, depth + 1);
            self.key(shown);
            match (value.get(name), empty) {
                (Some(value), _) if !value.is_null() => self.value(value, inner, depth + 1),
                (_, Empty::Null) => self.text += "null",
                (_, Empty::Text) => self.text += "\"\"",
                (_, Empty::False) => self.text += "false",
                (_, Empty::Zero) => self.text.push('0'),
                (_, Empty::Struct(fields)) => self.object(&Value::Null, fields, depth + 1),
            }
        }
        self.end(depth, '}');
    }

    fn value(&mut self, value: &Value, fields: &[Field], depth: usize) {
        match value {
            Value::Array(items) if !items.is_empty() => {
                self.text.push('[');
                for (at, item) in items.iter().enumerate() {
                    self.separate(at, depth + 1);
                    self.value(item, fields, depth + 1);
                }
                self.end(depth, ']');
            }
            Value::Object(_) if !fields.is_empty() => self.object(value, fields, depth),
            Value::Object(entries) if !entries.is_empty() => {
                self.text.push('{');
                for (at, (key, value)) in entries.iter().enumerate() {
                    self.separate(at, depth + 1);
                    self.key(key);
                    self.value(value, NONE, depth + 1);
                }
                self.end(depth, '}');
            }
            other => self.text += &other.to_string(),
        }
    }

    fn key(&mut self, key: &str) {
        self.text += &format!("\"{key}\":");
        if self.indent.is_some() {
            self.text.push(' ');
        }
    }

    fn separate(&mut self, at: usize, depth: usize) {
        if at > 0 {
            self.text.push(',');
        }
        self.line(depth);
    }

    fn end(&mut self, depth: usize, close: char) {
        self.line(depth);
        self.text.push(close);
    }

    fn line(&mut self, depth: usize) {
        if self.indent.is_some() {
            self.text.push('\n');
            self.text.extend(std::iter::repeat_n(' ', depth));
        }
    }
}

/// Beyond this the table of common lines would cost more than the text is worth.
const MOST_LINES: usize = 2000;

fn unified(old: &str, new: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    if a.len() > MOST_LINES || b.len() > MOST_LINES {
        return String::new();
    }
    // common[i][j]: how many lines a[i..] and b[j..] share in order.
    let width = b.len() + 1;
    let mut common = vec![0_u16; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let mut edits: Vec<(char, usize, usize)> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            edits.push((' ', i, j));
            i += 1;
            j += 1;
        } else if i < a.len()
            && (j == b.len() || common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            edits.push(('-', i, j));
            i += 1;
        } else {
            edits.push(('+', i, j));
            j += 1;
        }
    }
    let mut text = String::new();
    let mut at = 0;
    while let Some(first) =
        edits[at..].iter().position(|edit| edit.0 != ' ').map(|found| at + found)
    {
        let from = first.saturating_sub(3).max(at);
        let mut to = first;
        let mut same = 0_usize;
        // Changes less than six lines apart are one hunk.
        while to < edits.len() && same <= 6 {
            same = if edits[to].0 == ' ' { same + 1 } else { 0 };
            to += 1;
        }
        to -= same.saturating_sub(3);
        let hunk = &edits[from..to];
        let (olds, news) = (
            hunk.iter().filter(|e| e.0 != '+').count(),
            hunk.iter().filter(|e| e.0 != '-').count(),
        );
        text += &format!("@@ -{},{olds} +{},{news} @@\n", hunk[0].1 + 1, hunk[0].2 + 1);
        for (mark, i, j) in hunk {
            text += &format!("{mark}{}\n", if *mark == '+' { b[*j] } else { a[*i] });
        }
        at = to;
    }
    text
}
