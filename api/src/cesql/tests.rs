//! Tables of expressions: what they come to, how they fail, and what is said of those that are none.

use std::collections::BTreeMap;

use super::*;

/// The event that expressions are evaluated on.
struct Event(BTreeMap<&'static str, Value<'static>>);

impl Attributes for Event {
    fn attribute(&self, name: &str) -> Option<Value<'_>> {
        self.0.get(name).copied()
    }
}

fn event() -> Event {
    let attributes = [
        ("specversion", Value::String("1.0")),
        ("id", Value::String("7")),
        ("source", Value::String("/shop/näher")),
        ("type", Value::String("com.example.order.created")),
        ("sequence", Value::String("5")),
        ("count", Value::Integer(12)),
        ("none", Value::Integer(0)),
        ("urgent", Value::Boolean(true)),
        ("7up", Value::String("x")),
    ];
    Event(attributes.into())
}

fn of(expression: &str) -> Expression {
    Expression::parse(expression).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

/// What an expression comes to, as it is shown: strings in quotes.
#[track_caller]
fn check(expression: &str, wanted: &str) {
    let read = of(expression);
    let event = event();
    match read.evaluate(&event) {
        Ok(found) => assert_eq!(found.to_string(), wanted, "{expression}"),
        Err(failure) => panic!("{expression}: {failure}"),
    }
}

/// How the evaluation fails, and the value that it leaves.
#[track_caller]
fn fails(expression: &str, wanted: &str, value: &str) {
    let read = of(expression);
    let event = event();
    let failure = read.evaluate(&event).expect_err(expression);
    assert_eq!(
        (&*failure.to_string(), &*failure.value.to_string()),
        (wanted, value),
        "{expression}"
    );
}

#[track_caller]
fn refused(text: &str, wanted: &str) {
    let error = Expression::parse(text).expect_err(text);
    assert_eq!(error.to_string(), wanted, "{text}");
}

#[track_caller]
fn doubted(expression: &str, wanted: &[&str]) {
    let read = of(expression);
    let found: Vec<_> = read.doubts().iter().map(Doubt::to_string).collect();
    assert_eq!(found, wanted, "{expression}");
}

#[test]
fn literals_are_what_they_say() {
    check("tRuE", "true");
    check("False", "false");
    check("007", "7");
    check("+7", "7");
    check("-2147483648", "-2147483648");
    check("'Ab c'", "'Ab c'");
    check("\"it's\"", "'it's'");
    check(r"'it\'s'", "'it's'");
    check("'it''s'", "'it's'");
    check("''''", "'''");
    check("''", "''");
    check(r#""a\"b""c""#, "'a\"b\"c'");
    check(r"'a\c\\'", r"'a\c\\'");
}

#[test]
fn attributes_have_their_types_and_are_found_in_any_case() {
    check("source", "'/shop/näher'");
    check("SOURCE", "'/shop/näher'");
    check("count", "12");
    check("urgent", "true");
    check("7up", "'x'");
    check("EXISTS sequence", "true");
    check("exists Absent", "false");
    check("NOT EXISTS absent", "true");
    check("EXISTS id AND EXISTS source AND EXISTS type AND EXISTS specversion", "true");
    fails(
        "absent",
        "column 1: the event has no attribute `absent`: EXISTS absent asks for it",
        "false",
    );
}

#[test]
fn operators_bind_as_they_should() {
    check("2 + 3 * 4", "14");
    check("(2 + 3) * 4", "20");
    check("20 - 3 - 4", "13");
    check("7 / 2 * 2 % 4", "2");
    check("-7 / 2", "-3");
    check("-7 % 4", "-3");
    check("4-1", "3");
    check("4+-1", "3");
    check("4 - -1", "5");
    check("--4", "4");
    check("-'4' * 2", "-8");
    check("-(2 + 3)", "-5");
    check("1 + 1 = 2", "true");
    check("1 < 2 = TRUE", "true");
    check("NOT FALSE = FALSE", "false");
    check("NOT (FALSE = FALSE)", "false");
    check("NOT (1 = 2)", "true");
    // LIKE and IN bind closer than arithmetic.
    check("1 + 1 IN (1)", "2");
    check("2 * 12 LIKE '1_'", "2");
    // The connectives are one level, and are read from the right.
    check("FALSE AND FALSE OR TRUE", "false");
    check("(FALSE AND FALSE) OR TRUE", "true");
    check("TRUE OR TRUE AND FALSE", "true");
    check("TRUE XOR TRUE OR FALSE", "false");
    check("TRUE XOR TRUE XOR TRUE", "true");
    check("FALSE XOR TRUE AND FALSE", "false");
    check("TRUE XOR FALSE AND absent = 1", "true");
    check("type = 'com.example.order.created' AND count = 12 and urgent", "true");
}

#[test]
fn operands_are_cast() {
    check("sequence = 5", "true");
    check("5 = sequence", "true");
    check("'05' = 5", "true");
    check("5 = '05'", "false");
    check("count = '12'", "true");
    check("'TRUE' = TRUE", "true");
    check("TRUE = 'TRUE'", "false");
    check("TRUE = 'true'", "true");
    check("TRUE = 2", "false");
    check("2 = TRUE", "true");
    check("sequence + count", "17");
    check("sequence < count", "true");
    check("count >= '+12'", "true");
    check("urgent + 1", "2");
    check("NOT count", "false");
    check("NOT none", "true");
    check("count AND 'true'", "true");
    check("count LIKE '1_'", "true");
    check("1 IN ('1', '2')", "true");
    check("'1' IN (2, 1)", "true");
    check("count NOT IN (1, 12)", "false");
    check("type IN (source, id)", "false");
    check("type != 'x' AND type <> 'y'", "true");
    check("2147483647 + 1", "-2147483648");
    check("-2147483648 / -1", "-2147483648");
}

#[test]
fn patterns_fit_characters() {
    for (text, pattern, fits) in [
        ("", "", true),
        ("a", "", false),
        ("", "%", true),
        ("abc", "abc", true),
        ("abc", "ABC", false),
        ("abcd", "abc", false),
        ("abc", "a%", true),
        ("abc", "%c", true),
        ("abc", "%b%", true),
        ("abc", "%%", true),
        ("ac", "a%c", true),
        ("aXcXc", "a%c", true),
        ("aba", "ab%ba", false),
        ("näh", "n_h", true),
        ("n\u{1F600}h", "n_h", true),
        ("nh", "n_h", false),
        ("xaby", "%a_y", true),
        ("abab", "%a_", true),
        ("aXbaYb", "a_b%a_b", true),
        ("aXbYb", "a_b%a_b", false),
        ("zaXbzaYbz", "%a_b%a_b%", true),
        ("abc", "___", true),
        ("abc", "____", false),
        ("abc", "%___%", true),
        ("abc", "%____%", false),
        ("a%b", r"a\%b", true),
        ("axb", r"a\%b", false),
        (r"a\b", r"a\%", false),
        ("a%b", "a%", true),
        ("a%b", "%b", true),
        ("a_b", r"a\_b", true),
        ("axb", r"a\_b", false),
        (r"a\b", r"a\b", true),
        (r"a\%", r"a\\%", true),
        (r"a\\%", r"a\\\%", true),
        (r"a\%", r"a\\\%", false),
        ("*.[a]", "*.[a]", true),
    ] {
        check(&format!("'{text}' LIKE '{pattern}'"), word(fits));
        check(&format!("'{text}' NOT LIKE '{pattern}'"), word(!fits));
    }
}

#[test]
fn functions_do_what_they_say() {
    check("LENGTH(source)", "11");
    check("LENGTH(TRUE)", "4");
    check("CONCAT()", "''");
    check("CONCAT(count, '-', urgent)", "'12-true'");
    check("CONCAT_WS(', ')", "''");
    check("CONCAT_WS(', ', 'a')", "'a'");
    check("concat_ws(', ', 'a', 2, TRUE)", "'a, 2, true'");
    check("LOWER('ÄB')", "'äb'");
    check("UPPER('äb')", "'ÄB'");
    check("TRIM(' \u{2003}a b\t')", "'a b'");
    check("TRIM(CONCAT(' a', ' '))", "'a'");
    check("LEFT('näh', 2)", "'nä'");
    check("LEFT('näh', 9)", "'näh'");
    check("RIGHT('hän', 2)", "'än'");
    check("RIGHT('hän', 3)", "'hän'");
    check("RIGHT('hän', 0)", "''");
    check("LEFT(CONCAT('a', 'b'), 1)", "'a'");
    check("SUBSTRING('hänge', 2)", "'änge'");
    check("SUBSTRING('hänge', -3)", "'nge'");
    check("SUBSTRING('hänge', 2, 2)", "'än'");
    check("SUBSTRING('hänge', -4, 2)", "'än'");
    check("SUBSTRING('hänge', 5, 9)", "'e'");
    check("SUBSTRING('hänge', 2, 2147483647)", "'änge'");
    check("SUBSTRING('hänge', 0)", "''");
    check("SUBSTRING('hänge', 0, -1)", "''");
    check("SUBSTRING('hänge', -5, 0)", "''");
    check("ABS(-5)", "5");
    check("INT('-5') + INT(TRUE)", "-4");
    check("BOOL('tRue') AND BOOL(-50) AND NOT BOOL(0)", "true");
    check("STRING(-1)", "'-1'");
    check("IS_INT('5') AND IS_INT(urgent) AND NOT IS_INT(type)", "true");
    check("IS_BOOL('FALSE') AND IS_BOOL(5) AND NOT IS_BOOL(type)", "true");
    check("LENGTH (id)", "1");
}

#[test]
fn the_first_failure_ends_it_with_the_zero_of_the_whole() {
    let absent = |column| {
        format!("column {column}: the event has no attribute `absent`: EXISTS absent asks for it")
    };
    fails("1 / 0", "column 3: division by zero", "0");
    fails("1 % 0", "column 3: division by zero", "0");
    fails("TRUE AND 1 / 0 = 1", "column 12: division by zero", "false");
    check("FALSE AND 1 / 0 = 1", "false");
    check("TRUE OR 1 / 0 = 1", "true");
    fails("FALSE XOR absent", &absent(11), "false");
    fails("absent / 0", &absent(1), "0");
    fails("1 / absent", &absent(5), "0");
    fails("'x' * absent", &absent(7), "0");
    fails("-absent", &absent(2), "0");
    fails("NOT absent", &absent(5), "false");
    fails("absent LIKE '%'", &absent(1), "false");
    fails("absent IN (1)", &absent(1), "false");
    fails("1 IN (2, absent)", &absent(10), "false");
    check("1 IN (1, absent)", "true");
    fails("absent != 1", &absent(1), "false");
    fails("LENGTH(absent)", &absent(8), "0");
    fails("UPPER(absent)", &absent(7), "''");
    fails(
        "CONCAT('a',\n absent)",
        "line 2, column 2: the event has no attribute `absent`: EXISTS absent asks for it",
        "''",
    );
    fails("INT(type)", "column 5: 'com.example.order.created' is no integer", "0");
    fails("BOOL('yes')", "column 6: 'yes' is no boolean", "false");
    fails("NOT 10", "column 5: 10 is no boolean", "true");
    fails("type < 5", "column 1: 'com.example.order.created' is no integer", "false");
    fails("'2147483648' + 1", "column 1: '2147483648' is no integer", "0");
    fails("5 IN ('x', 5)", "column 7: 'x' is no integer", "false");
    fails(
        "ABS(-2147483648)",
        "column 1: the absolute value of -2147483648 is beyond 32 bits",
        "2147483647",
    );
    fails("LEFT('abc', -2)", "column 1: LEFT does not take -2 here: no count is below 0", "'abc'");
    fails(
        "RIGHT('abc', -2)",
        "column 1: RIGHT does not take -2 here: no count is below 0",
        "'abc'",
    );
    fails(
        "LEFT('abc', -2) = 'abc'",
        "column 1: LEFT does not take -2 here: no count is below 0",
        "false",
    );
    fails(
        "SUBSTRING('abc', 4)",
        "column 1: SUBSTRING does not take 4 here: it is outside of the string",
        "''",
    );
    fails(
        "SUBSTRING('abc', -4, 1)",
        "column 1: SUBSTRING does not take -4 here: it is outside of the string",
        "''",
    );
    fails(
        "SUBSTRING('abc', 1, -1)",
        "column 1: SUBSTRING does not take -1 here: no count is below 0",
        "''",
    );
    fails("NOPE(absent) = 1", "column 1: there is no function NOPE for 1 arguments", "false");
    fails("CONCAT_WS()", "column 1: there is no function CONCAT_WS for 0 arguments", "false");
}

#[test]
fn a_filter_takes_what_can_be_cast() {
    let event = event();
    for (expression, wanted) in [
        ("urgent", Some(true)),
        ("count", Some(true)),
        ("none", Some(false)),
        ("'TRUE'", Some(true)),
        ("type", None),
        ("absent", None),
    ] {
        assert_eq!(of(expression).matches(&event).ok(), wanted, "{expression}");
    }
}

#[test]
fn what_is_no_expression_is_refused_with_the_place_and_what_was_expected() {
    let operand = "an attribute, a value, a function or `(`";
    refused("", &format!("column 1: expected {operand}, found the end"));
    refused("((", &format!("column 3: expected {operand}, found the end"));
    refused("ABC(", &format!("column 5: expected {operand}, found the end"));
    refused("ABC(1,)", &format!("column 7: expected {operand}, found `)`"));
    refused("a = AND", &format!("column 5: expected {operand}, found `AND`"));
    refused("NOT", &format!("column 4: expected {operand}, found the end"));
    refused("(a", "column 3: expected an operator or `)`, found the end");
    refused("a b", "column 3: expected an operator or the end, found `b`");
    refused("a NOT b", "column 3: expected an operator or the end, found `NOT`");
    refused("a)", "column 2: expected an operator or the end: no bracket is open, found `)`");
    refused("LEFT(a b)", "column 8: expected an operator, `,` or `)`, found `b`");
    refused("a LIKE 5", "column 8: expected a pattern in quotes after LIKE, found `5`");
    refused("a LIKE", "column 7: expected a pattern in quotes after LIKE, found the end");
    refused("a IN 5", "column 6: expected `(` and a list of values after IN, found `5`");
    refused("a IN ()", &format!("column 7: expected {operand}, found `)`"));
    refused("EXISTS 'a'", "column 8: expected the name of an attribute after EXISTS, found `'a'`");
    refused("EXISTS IN", "column 8: expected the name of an attribute after EXISTS, found `IN`");
    refused("+ 'a'", "column 3: expected a number after `+`, found `'a'`");
    refused("my_ext = 1", "column 1: `my_ext` is no attribute: their names have no `_`");
    refused("F1(a)", "column 1: `F1` is no function: their names have letters and `_`");
    refused("a == 1", "column 3: `==` is no operator: write `=`");
    refused("a && b", "column 3: `&` is no operator: write AND");
    refused("a || b", "column 3: `|` is no operator: write OR");
    refused("!a", "column 1: `!` is no operator: write NOT, or `!=`");
    refused("a = ä", "column 5: `ä` has no meaning outside of quotes");
    refused("a = 'b", "column 5: the string that begins here has no closing '");
    refused(r"a = 'b\'", "column 5: the string that begins here has no closing '");
    refused("a =\n  'é' x", "line 2, column 7: expected an operator or the end, found `x`");
    refused("a < 2147483648", "column 5: 2147483648 is beyond the integers of 32 bits");
    refused("a < -2147483649", "column 6: -2147483649 is beyond the integers of 32 bits");
}

#[test]
fn what_is_hardly_meant_is_told() {
    doubted("type = 'a' AND (id = '1' OR id = '2')", &[]);
    doubted("type = 'a' AND id = '1' AND NOT EXISTS subject", &[]);
    doubted(
        "a AND b OR c",
        &[
            "column 3: AND, OR and XOR are read from the right, as in a AND (b OR c): write the brackets that are meant",
        ],
    );
    doubted(
        "NOT type LIKE 'a%'",
        &["column 1: NOT is taken before the operator that follows: write NOT (…) around it all"],
    );
    doubted("NOT 10", &["column 1: NOT of a number fails: write NOT BOOL(…)"]);
    doubted("count < '1x'", &["column 9: '1x' is no integer: this fails for each event"]);
    doubted("urgent AND 'yes'", &["column 12: 'yes' is no boolean: this fails for each event"]);
    doubted("LEFT(type, 'a') = 'b'", &["column 12: 'a' is no integer: this fails for each event"]);
    doubted("NOPE(type) = 1", &["column 1: there is no function NOPE: this fails for each event"]);
    doubted(
        "substring(type)",
        &["column 1: SUBSTRING does not take 1 arguments, there is SUBSTRING(string, from) and \
           SUBSTRING(string, from, count): this fails for each event"],
    );
}

#[test]
fn length_and_depth_are_bounded() {
    let within = |depth: usize| format!("{}TRUE{}", "(".repeat(depth), ")".repeat(depth));
    let depth = usize::from(MAX_DEPTH);
    check(&within(depth - 1), "true");
    refused(&within(depth), "column 65: more than 64 parts within each other");
    refused(&"-".repeat(100_000), "column 1: the expression has 100000 bytes, more than 16384");
    refused(&"-".repeat(10_000), "column 65: more than 64 parts within each other");
    refused(&"NOT ".repeat(4_000), "column 257: more than 64 parts within each other");
    // Each operator holds what stands before it.
    check(&format!("0{}", " + 1".repeat(depth - 1)), "63");
    refused(
        &format!("0{}", " + 1".repeat(1000)),
        "column 255: more than 64 operators within each other",
    );
    // Connectives and lists do not nest.
    check(&format!("FALSE{}", " OR FALSE".repeat(1500)), "false");
    check(&format!("id IN (0{})", ", 7".repeat(4000)), "true");
}

#[test]
fn evaluation_ends_however_long_the_texts_are() {
    let long = "a".repeat(300_000);
    let event = Event([("x", Value::String(Box::leak(long.into_boxed_str())))].into());
    let work = |expression: &str| match of(expression).evaluate(&event) {
        Ok(value) => value.to_string(),
        Err(failure) => failure.error.to_string(),
    };
    assert_eq!(work("LENGTH(x)"), "300000");
    assert_eq!(work("x LIKE '%b%'"), "false");
    let wanted = "the texts are too long to go on";
    assert_eq!(work(&format!("x LIKE '%{}b%'", "a_".repeat(2000))), wanted);
    assert_eq!(work("LENGTH(CONCAT(x, x, x, x))"), wanted);
    assert_eq!(work(&format!("x = '1'{}", " OR x = '1'".repeat(4))), wanted);
}

#[test]
fn needs_are_what_must_be() {
    let one = |attribute, values: &[&'static str]| Need {
        attribute,
        wanted: Wanted::OneOf(values.to_vec()),
    };
    for (expression, wanted) in [
        ("type = 'a'", vec![one("type", &["a"])]),
        ("'a' = type", vec![one("type", &["a"])]),
        ("ext = 'a'", vec![one("ext", &["a"])]),
        // Here the value is cast to the type that the attribute has.
        ("'a' = ext", vec![]),
        ("ext IN ('1')", vec![]),
        ("ext = 1", vec![]),
        ("type IN ('a', 'b')", vec![one("type", &["a", "b"])]),
        ("type IN ('a', source)", vec![]),
        ("type LIKE 'a%'", vec![Need { attribute: "type", wanted: Wanted::Prefix("a") }]),
        ("type LIKE '%a'", vec![Need { attribute: "type", wanted: Wanted::Suffix("a") }]),
        ("type LIKE 'a'", vec![one("type", &["a"])]),
        ("type LIKE '%'", vec![]),
        ("type LIKE 'a_%'", vec![]),
        ("type LIKE 'a%b'", vec![]),
        ("type NOT LIKE 'a%'", vec![]),
        ("NOT (type = 'a')", vec![]),
        ("type != 'a'", vec![]),
        (
            "type = 'a' AND (source = 'b' AND id = 'c')",
            vec![one("type", &["a"]), one("source", &["b"]), one("id", &["c"])],
        ),
        ("type = 'a' AND source = 'b' OR id = 'c'", vec![one("type", &["a"])]),
        ("type = 'a' OR type = 'b' OR type IN ('c')", vec![one("type", &["a", "b", "c"])]),
        ("type = 'a' OR source = 'b'", vec![]),
        ("(type = 'a' OR type = 'b') AND urgent", vec![one("type", &["a", "b"])]),
        ("type = 'a' XOR type = 'b'", vec![]),
        ("TRUE", vec![]),
    ] {
        assert_eq!(of(expression).needs(), wanted, "{expression}");
    }
}
