//! The patterns of LIKE.
//!
//! Pure: a pattern and a text in, whether they fit out.

/// A pattern, cut where `%` stands: the pieces come in this order, with anything between them.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// At least one: what the text begins with, and the last one what it ends with. Any may be empty.
    pieces: Vec<Piece>,
}

/// A stretch of a pattern without `%`.
#[derive(Clone, Debug, Default)]
struct Piece {
    /// Texts, and between two of them each time one character, whichever. At least one text; any may be empty.
    texts: Vec<String>,
}

impl Pattern {
    /// Reads a pattern: any text is one.
    pub fn new(text: &str) -> Pattern {
        let empty = || Piece { texts: vec![String::new()] };
        let mut pieces = vec![empty()];
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            let piece = pieces.last_mut().expect("there is a first piece");
            match letter {
                '%' => pieces.push(empty()),
                '_' => piece.texts.push(String::new()),
                _ => {
                    let escaped = letters.next_if(|it| letter == '\\' && matches!(it, '%' | '_'));
                    let text = piece.texts.last_mut().expect("a piece has a first text");
                    text.push(escaped.unwrap_or(letter));
                }
            }
        }
        Pattern { pieces }
    }

    /// Whether a text fits. Takes the steps it needs from `work`; nothing once these are used up.
    pub fn fits(&self, text: &str, work: &mut usize) -> Option<bool> {
        let (first, others) = self.pieces.split_first().expect("a pattern has a first piece");
        let Some((last, between)) = others.split_last() else {
            return first.begins(text, work).map(|end| end == Some(text.len()));
        };
        let Some(mut at) = first.begins(text, work)? else { return Some(false) };
        for piece in between {
            match piece.follows(&text[at..], work)? {
                Some(end) => at += end,
                None => return Some(false),
            }
        }
        last.ends(&text[at..], work)
    }

    /// The text that it is, if it has no wildcards.
    pub fn exact(&self) -> Option<&str> {
        match &self.pieces[..] {
            [piece] => piece.text(),
            _ => None,
        }
    }

    /// What it begins with, if that is all that it asks for.
    pub fn prefix(&self) -> Option<&str> {
        match &self.pieces[..] {
            [first, last] if last.text() == Some("") => first.text(),
            _ => None,
        }
    }

    /// What it ends with, if that is all that it asks for.
    pub fn suffix(&self) -> Option<&str> {
        match &self.pieces[..] {
            [first, last] if first.text() == Some("") => last.text(),
            _ => None,
        }
    }
}

impl Piece {
    /// Its text, if it has no wildcards.
    fn text(&self) -> Option<&str> {
        match &self.texts[..] {
            [text] => Some(text),
            _ => None,
        }
    }

    /// Where it ends, if the text begins with it. The outer option is the work's.
    fn begins(&self, text: &str, work: &mut usize) -> Option<Option<usize>> {
        let mut at = 0;
        for (index, part) in self.texts.iter().enumerate() {
            spend(work, 1 + part.len())?;
            if index != 0 {
                let Some(any) = text[at..].chars().next() else { return Some(None) };
                at += any.len_utf8();
            }
            if !text[at..].starts_with(&**part) {
                return Some(None);
            }
            at += part.len();
        }
        Some(Some(at))
    }

    /// Where it ends at the first place at which the text has it.
    fn follows(&self, text: &str, work: &mut usize) -> Option<Option<usize>> {
        if let Some(part) = self.text() {
            spend(work, text.len())?;
            return Some(text.find(part).map(|at| at + part.len()));
        }
        let starts = text.char_indices().map(|(at, _)| at).chain([text.len()]);
        for start in starts {
            if let Some(end) = self.begins(&text[start..], work)? {
                return Some(Some(start + end));
            }
        }
        Some(None)
    }

    /// Whether the text ends with it.
    fn ends(&self, text: &str, work: &mut usize) -> Option<bool> {
        let mut rest = text;
        for (index, part) in self.texts.iter().rev().enumerate() {
            spend(work, 1 + part.len())?;
            if index != 0 {
                let Some(any) = rest.chars().next_back() else { return Some(false) };
                rest = &rest[..rest.len() - any.len_utf8()];
            }
            let Some(shorter) = rest.strip_suffix(&**part) else { return Some(false) };
            rest = shorter;
        }
        Some(true)
    }
}

fn spend(work: &mut usize, steps: usize) -> Option<()> {
    *work = work.checked_sub(steps)?;
    Some(())
}
