//! Literals, error places and nesting limits.

use super::*;

/// What is wrong with an expression, empty if nothing.
fn issues(text: &str) -> String {
    let source = Source::new(text);
    let mut issues = Issues::default();
    parse(&source, &mut issues);
    issues.render(&source)
}

#[test]
fn errors_have_places() {
    let start = START_OF_EXPRESSION;
    for (text, expect) in [
        ("a | b", "ERROR: <input>:1:3: Syntax error: token recognition error at: '| '\n | a | b\n | ..^\nERROR: <input>:1:5: Syntax error: extraneous input 'b' expecting <EOF>\n | a | b\n | ....^".to_owned()),
        ("1 + $", format!("ERROR: <input>:1:5: Syntax error: token recognition error at: '$'\n | 1 + $\n | ....^\nERROR: <input>:1:6: Syntax error: mismatched input '<EOF>' expecting {start}\n | 1 + $\n | .....^")),
        ("1 + 2\n3 +", "ERROR: <input>:2:1: Syntax error: mismatched input '3' expecting <EOF>\n | 3 +\n | ^".to_owned()),
        ("TestAllTypes(){}", "ERROR: <input>:1:15: Syntax error: mismatched input '{' expecting <EOF>\n | TestAllTypes(){}\n | ..............^".to_owned()),
        ("{\"a\": 1}.\"a\"", "ERROR: <input>:1:10: Syntax error: no viable alternative at input '.\"a\"'\n | {\"a\": 1}.\"a\"\n | .........^".to_owned()),
        ("", format!("ERROR: <input>:1:1: Syntax error: mismatched input '<EOF>' expecting {start}\n | \n | ^")),
        ("{", "ERROR: <input>:1:2: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '}', '(', '.', ',', '-', '!', '?', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}\n | {\n | .^".to_owned()),
        ("a.true", "ERROR: <input>:1:3: Syntax error: mismatched input 'true' expecting IDENTIFIER\n | a.true\n | ..^".to_owned()),
        ("while", "ERROR: <input>:1:1: reserved identifier: while\n | while\n | ^".to_owned()),
        ("1.99e90000009", "ERROR: <input>:1:1: invalid double literal\n | 1.99e90000009\n | ^".to_owned()),
        ("9223372036854775808", "ERROR: <input>:1:1: invalid int literal\n | 9223372036854775808\n | ^".to_owned()),
        ("18446744073709551616u", "ERROR: <input>:1:1: invalid uint literal\n | 18446744073709551616u\n | ^".to_owned()),
        ("has(a)", "ERROR: <input>:1:5: invalid argument to has() macro\n | has(a)\n | ....^".to_owned()),
        ("[].all(1, true)", "ERROR: <input>:1:8: argument must be a simple name\n | [].all(1, true)\n | .......^".to_owned()),
        ("[].map(1, true)", "ERROR: <input>:1:8: argument is not an identifier\n | [].map(1, true)\n | .......^".to_owned()),
        ("[].all(__result__, true)", "ERROR: <input>:1:8: iteration variable overwrites accumulator variable\n | [].all(__result__, true)\n | .......^".to_owned()),
        ("[].all(i, i, true)", "ERROR: <input>:1:11: duplicate variable name: i\n | [].all(i, i, true)\n | ..........^".to_owned()),
    ] {
        assert_eq!(issues(text), expect, "{text:?}");
    }
}

#[test]
fn literals() {
    let literal = |text: &str| {
        let mut issues = Issues::default();
        let parsed = parse(&Source::new(text), &mut issues);
        assert!(issues.is_empty(), "{text}");
        match parsed.root.kind {
            Kind::Literal(literal) => literal,
            other => panic!("{text}: {other:?}"),
        }
    };
    for (text, expect) in [
        ("0xFF", Literal::Int(255)),
        ("-0x10", Literal::Int(-16)),
        ("-9223372036854775808", Literal::Int(i64::MIN)),
        ("0xFFu", Literal::Uint(255)),
        (".5e1", Literal::Double(5.0)),
        ("1e3", Literal::Double(1000.0)),
        ("null", Literal::Null),
        (r#""\a\b\f\n\r\t\v\"\'\\\?\`""#, Literal::String("\u{7}\u{8}\u{c}\n\r\t\u{b}\"'\\?`".to_owned())),
        (r"'\x41\101é\U0001F600'", Literal::String("AAé😀".to_owned())),
        (r"r'\n'", Literal::String("\\n".to_owned())),
        ("'''a'b\nc'''", Literal::String("a'b\nc".to_owned())),
        (r"b'\xff\377é'", Literal::Bytes([0xff, 0xff, 0xc3, 0xa9][..].into())),
        ("1 // comment", Literal::Int(1)),
    ] {
        assert_eq!(literal(text), expect, "{text}");
    }
}

#[test]
fn nesting_is_bounded() {
    let text = |before: &str, middle: &str, after: &str, count| {
        format!("{}{middle}{}", before.repeat(count), after.repeat(count))
    };
    assert_eq!(issues(&text("(", "1", ")", 249)), "");
    assert_eq!(
        issues(&text("(", "1", ")", 250)),
        "ERROR: <input>:-1:0: expression recursion limit exceeded: 250"
    );
    assert_eq!(issues(&text("", "a", ".a", 250)), "");
    assert_eq!(
        issues(&text("", "a", ".a", 251)),
        "ERROR: <input>:-1:0: expression recursion limit exceeded: 250"
    );
    assert_eq!(issues(&text("", "1", "+1", 250)), "");
    assert!(issues(&text("", "1", "+1*2", 251)).contains("limit exceeded"));
    // Lists nest, and operators do, each on their own count.
    assert_eq!(issues(&text("[", "1+1+1", "]", 240)), "");
    let deep = issues(&text("[].all(a, ", "true", ")", 251));
    assert!(deep.contains("limit exceeded") || deep.contains("max recursion depth exceeded"), "{deep}");
    // Thousands of terms are a shallow tree.
    assert_eq!(issues(&text("", "true", " && true", 9_000)), "");
    let long = "a".repeat(100_001);
    assert_eq!(
        issues(&long),
        "ERROR: <input>:-1:0: expression code point size exceeds limit: size: 100001, limit 100000"
    );
}
