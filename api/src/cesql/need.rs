//! What an expression asks of single attributes, for those who look for the expressions that an event may fulfil.
//!
//! Pure: a tree in, needs out.

use super::{
    Computed, Need, Wanted,
    parse::{Connective, Node, Part},
};

/// Attributes whose values are always strings, so that no cast makes two texts equal.
const STRINGS: [&str; 8] =
    ["specversion", "id", "source", "type", "subject", "time", "datacontenttype", "dataschema"];

/// What must be for an expression to be true; all of it must be.
pub fn needs(node: &Node) -> Vec<Need<'_>> {
    match &node.part {
        Part::Logic { operands, connectives } => {
            let is_or = |it: &Connective| *it == Connective::Or;
            if connectives.iter().all(is_or) {
                return either(operands);
            }
            // What stands before the first that is no AND; what follows is one more operand, of which nothing is known.
            let and = connectives.iter().take_while(|it| **it == Connective::And).count();
            let count = if and == connectives.len() { operands.len() } else { and };
            operands[..count].iter().flat_map(needs).collect()
        }
        Part::Equal(pair) => match (&pair[0].part, &pair[1].part) {
            (Part::Attribute(name), Part::Literal(Computed::String(text))) => {
                vec![Need { attribute: name, wanted: Wanted::OneOf(vec![text]) }]
            }
            (Part::Literal(Computed::String(text)), Part::Attribute(name))
                if STRINGS.contains(&&**name) =>
            {
                vec![Need { attribute: name, wanted: Wanted::OneOf(vec![text]) }]
            }
            _ => Vec::new(),
        },
        Part::In(left, set) => {
            let Part::Attribute(name) = &left.part else { return Vec::new() };
            let texts = set.iter().map(|it| match &it.part {
                Part::Literal(Computed::String(text)) => Some(&**text),
                _ => None,
            });
            match texts.collect() {
                Some(texts) if STRINGS.contains(&&**name) => {
                    vec![Need { attribute: name, wanted: Wanted::OneOf(texts) }]
                }
                _ => Vec::new(),
            }
        }
        Part::Like(left, pattern) => {
            let Part::Attribute(name) = &left.part else { return Vec::new() };
            let exact = pattern.exact().map(|it| Wanted::OneOf(vec![it]));
            let prefix = || pattern.prefix().filter(|it| !it.is_empty()).map(Wanted::Prefix);
            let suffix = || pattern.suffix().filter(|it| !it.is_empty()).map(Wanted::Suffix);
            let wanted = exact.or_else(prefix).or_else(suffix);
            wanted.map(|wanted| Need { attribute: name, wanted }).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// What one operand or another must have: the values of one attribute, if each names some of the same.
fn either(operands: &[Node]) -> Vec<Need<'_>> {
    let values = |node, attribute: Option<&str>| {
        needs(node).into_iter().find_map(|need| match need.wanted {
            Wanted::OneOf(texts) if attribute.is_none_or(|it| it == need.attribute) => {
                Some((need.attribute, texts))
            }
            _ => None,
        })
    };
    let Some((attribute, _)) = operands.first().and_then(|it| values(it, None)) else {
        return Vec::new();
    };
    let all: Option<Vec<_>> =
        operands.iter().map(|it| values(it, Some(attribute)).map(|(_, texts)| texts)).collect();
    let one = |texts: Vec<Vec<_>>| Need { attribute, wanted: Wanted::OneOf(texts.concat()) };
    all.map(one).into_iter().collect()
}
