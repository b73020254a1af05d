//! CloudEvents SQL: no text makes the reader or the evaluation stop, and what they say is what the language means.

use api::cesql::{Attributes, Computed, Expression, MAX_LENGTH, Value, Wanted};
use tests::random::{Random, cases};

/// An event of a few attributes; names and values come again in expressions.
pub struct Event(pub Vec<(&'static str, Held)>);

/// A value, as the event holds it.
pub enum Held {
    String(String),
    Boolean(bool),
    Integer(i32),
}

impl Attributes for Event {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.0.iter().find(|(it, _)| *it == name).map(|(_, value)| match value {
            Held::String(text) => Value::String(text),
            Held::Boolean(truth) => Value::Boolean(*truth),
            Held::Integer(number) => Value::Integer(*number),
        })
    }
}

pub fn event(random: &mut Random) -> Event {
    let mut attributes = vec![
        ("type", Held::String(random.text("ab", 4))),
        ("source", Held::String(random.text("ab%_\\é", 5))),
    ];
    for name in ["ext", "n"] {
        match random.below(4) {
            0 => {}
            1 => attributes.push((name, Held::Boolean(random.once_in(2)))),
            2 => attributes.push((name, Held::Integer(random.below(4) as i32 - 1))),
            _ => attributes.push((name, Held::String(random.text("ab01", 3)))),
        }
    }
    Event(attributes)
}

/// Any expression, in the words that the language has.
pub fn expression(random: &mut Random, depth: usize) -> String {
    let leaf = |random: &mut Random| match random.below(9) {
        0 => "type".to_owned(),
        1 => "source".to_owned(),
        2 => "ext".to_owned(),
        3 => "n".to_owned(),
        4 => (*random.pick(&["TRUE", "false"])).to_owned(),
        5 => (random.below(6) as i32 - 2).to_string(),
        6 => format!("EXISTS {}", random.pick(&["ext", "type"])),
        _ => format!("'{}'", random.text("ab01", 4)),
    };
    if depth == 0 {
        return leaf(random);
    }
    let inner = |random: &mut Random| expression(random, depth - 1);
    match random.below(12) {
        0 => leaf(random),
        1 => format!("NOT {}", inner(random)),
        2 => format!("-{}", inner(random)),
        3 => format!("({})", inner(random)),
        4 => {
            let not = if random.once_in(3) { "NOT " } else { "" };
            let pattern = random.text("ab%_\\é", 5).replace('\\', "\\\\");
            format!("{} {not}LIKE '{pattern}'", inner(random))
        }
        5 => {
            let set: Vec<_> = (0..=random.below(3)).map(|_| inner(random)).collect();
            format!("{} IN ({})", inner(random), set.join(", "))
        }
        6 => {
            let functions = [
                "INT",
                "BOOL",
                "STRING",
                "IS_INT",
                "IS_BOOL",
                "ABS",
                "LENGTH",
                "CONCAT",
                "CONCAT_WS",
                "LOWER",
                "UPPER",
                "TRIM",
                "LEFT",
                "RIGHT",
                "SUBSTRING",
                "NOPE",
            ];
            let arguments: Vec<_> = (0..random.below(4)).map(|_| inner(random)).collect();
            format!("{}({})", random.pick(&functions), arguments.join(", "))
        }
        _ => {
            let operators = [
                "=", "!=", "<>", "<", "<=", ">", ">=", "+", "-", "*", "/", "%", "AND", "OR", "XOR",
                "=", "AND", "OR",
            ];
            format!("{} {} {}", inner(random), random.pick(&operators), inner(random))
        }
    }
}

/// Evaluates what can be read, and holds the result against what the expression says that it needs.
fn run(text: &str, event: &Event) {
    let read = match Expression::parse(text) {
        Ok(read) => read,
        Err(error) => {
            let lines = text.split('\n').count();
            assert!(usize::from(error.place.line) <= lines, "{error}: {text:?}");
            return;
        }
    };
    let _ = read.evaluate(event);
    let passes = read.matches(event).unwrap_or_default();
    for need in read.needs() {
        let value = event.attribute(need.attribute).map(|it| it.text().into_owned());
        let is_met = value.is_some_and(|value| match &need.wanted {
            Wanted::OneOf(texts) => texts.contains(&&*value),
            Wanted::Prefix(text) => value.starts_with(text),
            Wanted::Suffix(text) => value.ends_with(text),
        });
        assert!(is_met || !passes, "{text:?} passes without {need:?}");
    }
}

#[test]
fn any_expression_is_read_and_evaluated() {
    cases("cesql_expressions", |random| {
        let depth = random.below(6);
        let text = expression(random, depth);
        let event = event(random);
        run(&text, &event);
        let damaged = random.damaged(text.as_bytes());
        run(&String::from_utf8_lossy(&damaged), &event);
        run(&random.text("ab01 '\"\\()=<>!-+*/%,_é\n&|", 60), &event);
        let words =
            ["NOT ", "(", ")", "type ", "'a' ", "LIKE ", "IN ", "AND ", "-", "1 ", "LEFT(", ", "];
        let soup: String = (0..random.below(200)).map(|_| *random.pick(&words)).collect();
        run(&soup, &event);
    });
}

#[test]
fn no_expression_takes_long() {
    cases("cesql_time", |random| {
        let long = Event(vec![
            ("x", Held::String(random.pick(&["a", "ab", "é"]).repeat(20_000))),
            ("y", Held::String("a".repeat(60_000))),
        ]);
        let parts = [
            "x = y AND ",
            "x LIKE '%_a_b%' OR ",
            "x LIKE '%a%b%' OR ",
            "CONCAT(x, y) = '' OR ",
            "UPPER(LOWER(CONCAT(x, x))) = '' OR ",
            "TRIM(x) != y AND ",
            "NOT ",
            "(",
            "-",
            "LENGTH(SUBSTRING(x, 2, 50000)) < 3 OR ",
            "x IN (y, y, y) OR ",
        ];
        let part = *random.pick(&parts);
        let count = MAX_LENGTH / part.len() - 1;
        let mixed: String = match random.once_in(2) {
            true => part.repeat(count),
            false => (0..400).map(|_| *random.pick(&parts)).collect(),
        };
        run(&format!("{mixed}TRUE"), &long);
        let pattern = random.text("a_%", 2_000);
        run(&format!("x LIKE '{pattern}' OR y LIKE '{pattern}%b'"), &long);
    });
}

/// What a pattern of LIKE means, in the plainest words.
fn fits(text: &[char], pattern: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['%', rest @ ..] => (0..=text.len()).any(|at| fits(&text[at..], rest)),
        ['\\', wild @ ('%' | '_'), rest @ ..] | [wild, rest @ ..]
            if *wild != '_' || pattern[0] == '\\' =>
        {
            text.split_first().is_some_and(|(first, text)| first == wild && fits(text, rest))
        }
        [_, rest @ ..] => text.split_first().is_some_and(|(_, text)| fits(text, rest)),
    }
}

#[test]
fn patterns_mean_what_they_say() {
    cases("cesql_patterns", |random| {
        let (text, pattern) = (random.text("ab%_\\é", 8), random.text("ab%_\\é%_", 8));
        // A backslash at the end would hide the quote.
        let pattern = pattern.trim_end_matches('\\');
        let event = Event(vec![("x", Held::String(text.clone()))]);
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        let wanted = fits(&letters(&text), &letters(pattern));
        let written = format!("x LIKE '{pattern}'");
        let read = Expression::parse(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
        assert_eq!(read.matches(&event), Ok(wanted), "{written} of {text}");
        run(&written, &event);
    });
}

/// An expression with all its brackets, and what it comes to; nothing if it fails.
fn computed(random: &mut Random, depth: usize) -> (String, Option<i32>) {
    if depth == 0 || random.once_in(8) {
        let number = *random.pick(&[0, 1, -1, 2, 7, i32::MAX, i32::MIN]);
        return (number.to_string(), Some(number));
    }
    let (left, a) = computed(random, depth - 1);
    let (right, b) = computed(random, depth - 1);
    let both = a.zip(b);
    let truth = |it: Option<bool>| it.map(i32::from);
    let (operator, value) = match random.below(11) {
        0 => ("+", both.map(|(a, b)| a.wrapping_add(b))),
        1 => ("-", both.map(|(a, b)| a.wrapping_sub(b))),
        2 => ("*", both.map(|(a, b)| a.wrapping_mul(b))),
        3 => ("/", both.filter(|(_, b)| *b != 0).map(|(a, b)| a.wrapping_div(b))),
        4 => ("%", both.filter(|(_, b)| *b != 0).map(|(a, b)| a.wrapping_rem(b))),
        5 => ("<", truth(both.map(|(a, b)| a < b))),
        6 => (">=", truth(both.map(|(a, b)| a >= b))),
        7 => ("=", truth(both.map(|(a, b)| a == b))),
        8 => ("AND", truth(a.and_then(|a| if a == 0 { Some(false) } else { b.map(|b| b != 0) }))),
        9 => ("OR", truth(a.and_then(|a| if a != 0 { Some(true) } else { b.map(|b| b != 0) }))),
        _ => ("XOR", truth(both.map(|(a, b)| (a != 0) != (b != 0)))),
    };
    (format!("INT(({left}) {operator} ({right}))"), value)
}

#[test]
fn numbers_come_to_what_they_should() {
    cases("cesql_numbers", |random| {
        let (text, wanted) = computed(random, 5);
        let read = Expression::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let nothing = Event(Vec::new());
        assert_eq!(read.evaluate(&nothing).ok(), wanted.map(Computed::Integer), "{text}");
    });
}
