//! Cuts the text of an expression into tokens.
//!
//! Pure: text in, tokens out.

use std::borrow::Cow;

use super::{ParseError, Place};

/// A token and where it is.
#[derive(Debug)]
pub struct Token<'t> {
    pub kind: Kind<'t>,
    /// As it is written; empty at the end.
    pub text: &'t str,
    /// Its offset in bytes.
    pub at: usize,
    pub place: Place,
}

/// What a token is.
#[derive(Debug, PartialEq, Eq)]
pub enum Kind<'t> {
    /// Letters, digits and `_`: a keyword or a name.
    Word,
    /// Digits only.
    Digits,
    /// What stands between the quotes, with its escapes undone.
    String(Cow<'t, str>),
    Open,
    Close,
    Comma,
    Star,
    Slash,
    Percent,
    Plus,
    Minus,
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    End,
}

/// All tokens of a text; the last one is the end.
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut place = Place { line: 1, column: 1 };
    loop {
        let space = text[at..].len() - text[at..].trim_start_matches([' ', '\t', '\r', '\n']).len();
        place = after(place, &text[at..at + space]);
        at += space;
        let rest = &text[at..];
        let (kind, length) = token(rest).map_err(|text| ParseError { place, text })?;
        let is_end = kind == Kind::End;
        found.push(Token { kind, text: &rest[..length], at, place });
        if is_end {
            return Ok(found);
        }
        place = after(place, &rest[..length]);
        at += length;
    }
}

/// The place behind a piece of text. Expressions are short enough that neither number overflows.
fn after(mut place: Place, text: &str) -> Place {
    for letter in text.chars() {
        if letter == '\n' {
            place = Place { line: place.line + 1, column: 1 };
        } else {
            place.column += 1;
        }
    }
    place
}

/// The first token of a text that does not begin with a blank, and its length in bytes.
fn token(text: &str) -> Result<(Kind<'_>, usize), String> {
    let mut letters = text.chars();
    let Some(first) = letters.next() else { return Ok((Kind::End, 0)) };
    let second = letters.next();
    Ok(match (first, second) {
        ('(', _) => (Kind::Open, 1),
        (')', _) => (Kind::Close, 1),
        (',', _) => (Kind::Comma, 1),
        ('*', _) => (Kind::Star, 1),
        ('/', _) => (Kind::Slash, 1),
        ('%', _) => (Kind::Percent, 1),
        ('+', _) => (Kind::Plus, 1),
        ('-', _) => (Kind::Minus, 1),
        ('=', Some('=')) => return Err("`==` is no operator: write `=`".to_owned()),
        ('=', _) => (Kind::Equal, 1),
        ('!', Some('=')) => (Kind::Unequal, 2),
        ('!', _) => return Err("`!` is no operator: write NOT, or `!=`".to_owned()),
        ('<', Some('>')) => (Kind::Unequal, 2),
        ('<', Some('=')) => (Kind::AtMost, 2),
        ('<', _) => (Kind::Less, 1),
        ('>', Some('=')) => (Kind::AtLeast, 2),
        ('>', _) => (Kind::Greater, 1),
        ('&', _) => return Err("`&` is no operator: write AND".to_owned()),
        ('|', _) => return Err("`|` is no operator: write OR".to_owned()),
        ('\'' | '"', _) => return string(text, first),
        _ => {
            let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            let length = text.find(|letter| !is_part(letter)).unwrap_or(text.len());
            let word = &text[..length];
            match word.bytes().all(|byte| byte.is_ascii_digit()) {
                _ if word.is_empty() => {
                    return Err(format!("`{first}` has no meaning outside of quotes"));
                }
                true => (Kind::Digits, length),
                false => (Kind::Word, length),
            }
        }
    })
}

/// A string in quotes. A backslash before the quote, and the quote doubled, are one quote; any other backslash stays.
fn string(text: &str, quote: char) -> Result<(Kind<'_>, usize), String> {
    let inside = &text[1..];
    // What was copied so far, once something had to be left out, and from where on there is no copy.
    let (mut copy, mut from) = (String::new(), 0);
    let mut letters = inside.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        let next = letters.peek().map(|(_, next)| *next);
        if letter == quote && next != Some(quote) {
            let rest = &inside[from..at];
            let whole = if copy.is_empty() { Cow::Borrowed(rest) } else { Cow::Owned(copy + rest) };
            return Ok((Kind::String(whole), 1 + at + 1));
        }
        if letter == quote || (letter == '\\' && next == Some(quote)) {
            copy.push_str(&inside[from..at]);
            from = at + 1;
        }
        if letter == quote || letter == '\\' {
            letters.next();
        }
    }
    Err(format!("the string that begins here has no closing {quote}"))
}
