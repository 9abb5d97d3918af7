//! Source files as the module graph needs them: definitions, imports, and the paths in the code.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::Chars;

/// One import: `name` stands for `path`; the name of a glob import is `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) name: String,
    pub(super) path: Vec<String>,
    pub(super) public: bool,
}

/// One file without its unit tests.
#[derive(Debug, Default)]
pub(super) struct Source {
    /// Modules that have a file of their own.
    pub(super) children: BTreeSet<String>,
    /// Functions, types, traits, constants and macros at the top level of the file.
    pub(super) items: BTreeSet<String>,
    pub(super) imports: Vec<Import>,
    /// Paths in the code outside imports; a single name is a path of one segment.
    pub(super) paths: BTreeSet<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    /// `::`
    Path,
    Sign(char),
}

impl Token {
    fn is(&self, text: &str) -> bool {
        match self {
            Self::Word(word) => word == text,
            Self::Path => text == "::",
            Self::Sign(sign) => text.chars().eq([*sign]),
        }
    }

    fn word(&self) -> Option<&str> {
        if let Self::Word(word) = self { Some(word) } else { None }
    }
}

/// Tokens of the text, without comments, literals and lifetimes.
fn tokens(text: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        match first {
            '/' if rest.peek() == Some(&'/') => while rest.next_if(|next| *next != '\n').is_some() {},
            '"' => skip_string(&mut rest),
            '\'' => skip_character(&mut rest),
            ':' if rest.next_if_eq(&':').is_some() => found.push(Token::Path),
            _ if first.is_alphanumeric() || first == '_' => {
                let mut word = first.to_string();
                while let Some(next) = rest.next_if(|next| next.is_alphanumeric() || *next == '_') {
                    word.push(next);
                }
                let raw = matches!(word.as_str(), "r" | "br" | "cr") && matches!(rest.peek(), Some('"' | '#'));
                let prefix = matches!(word.as_str(), "b" | "c") && matches!(rest.peek(), Some('"' | '\''));
                match () {
                    () if raw => skip_raw_string(&mut rest),
                    () if prefix => {}
                    () => found.push(Token::Word(word)),
                }
            }
            _ if first.is_whitespace() => {}
            _ => found.push(Token::Sign(first)),
        }
    }
    found
}

fn skip_string(rest: &mut Peekable<Chars<'_>>) {
    while let Some(next) = rest.next() {
        match next {
            '\\' => drop(rest.next()),
            '"' => return,
            _ => {}
        }
    }
}

fn skip_raw_string(rest: &mut Peekable<Chars<'_>>) {
    let mut hashes = 0;
    while rest.next_if_eq(&'#').is_some() {
        hashes += 1;
    }
    rest.next();
    while let Some(next) = rest.next() {
        let closing = |rest: &mut Peekable<Chars<'_>>| (0..hashes).all(|_| rest.next_if_eq(&'#').is_some());
        if next == '"' && closing(rest) {
            return;
        }
    }
}

/// Skips the rest of a character literal, or of a lifetime.
fn skip_character(rest: &mut Peekable<Chars<'_>>) {
    if rest.next() == Some('\\') {
        rest.next();
        while rest.next().is_some_and(|next| next != '\'') {}
    } else if rest.next_if_eq(&'\'').is_none() {
        while rest.next_if(|next| next.is_alphanumeric() || *next == '_').is_some() {}
    }
}

/// The index after the bracket that closes the one at `open`.
fn after_group(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::Sign('(' | '[' | '{') => depth += 1,
            Token::Sign(')' | ']' | '}') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    tokens.len()
}

/// The index after the item, field, variant or statement that begins at `start`.
fn after_item(tokens: &[Token], start: usize) -> usize {
    let mut at = start;
    while at < tokens.len() && (tokens[at].is("#") || tokens[at].is("pub")) {
        at += 1;
        if tokens.get(at).is_some_and(|token| token.is("[") || token.is("(")) {
            at = after_group(tokens, at);
        }
    }
    let first = tokens.get(at).and_then(Token::word).unwrap_or_default();
    let to_semicolon = ["use", "mod", "let", "static", "type"].contains(&first);
    let item = ["fn", "async", "unsafe", "const", "impl", "struct", "enum", "trait"].contains(&first);
    while at < tokens.len() {
        match tokens[at] {
            Token::Sign(';') => return at + 1,
            Token::Sign(',') if !item && !to_semicolon => return at + 1,
            Token::Sign('}') => return at,
            Token::Sign('{') if !to_semicolon => return after_group(tokens, at),
            Token::Sign('(' | '[' | '{') => at = after_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

/// The tokens without code that is only compiled for tests, and without other attributes.
fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let bang = usize::from(tokens.get(at + 1).is_some_and(|token| token.is("!")));
        if !(tokens[at].is("#") && tokens.get(at + 1 + bang).is_some_and(|token| token.is("["))) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = after_group(tokens, at + 1 + bang);
        let inside = &tokens[at + 2 + bang..end];
        let has = |text: &str| inside.iter().any(|token| token.is(text));
        let test = inside.first().is_some_and(|token| token.is("cfg")) && has("test") && !has("not");
        at = if test { after_item(tokens, end) } else { end };
    }
    kept
}

/// Reads the tree of a `use` up to its end; returns the index after it.
fn imports(tokens: &[Token], mut at: usize, prefix: &[String], public: bool, found: &mut Vec<Import>) -> usize {
    let mut path = prefix.to_vec();
    let mut name = None;
    while at < tokens.len() {
        match &tokens[at] {
            Token::Word(word) if word == "as" => {
                at += 1;
                name = tokens[at].word().map(str::to_owned);
            }
            Token::Word(word) if word == "self" && !path.is_empty() => name = path.last().cloned(),
            Token::Word(word) => path.push(word.clone()),
            Token::Sign('*') => name = Some("*".to_owned()),
            Token::Sign('{') => {
                at += 1;
                while at < tokens.len() && !tokens[at].is("}") {
                    at = imports(tokens, at, &path, public, found);
                    at += usize::from(tokens.get(at).is_some_and(|token| token.is(",")));
                }
                return at + 1;
            }
            Token::Sign(',' | '}' | ';') => break,
            _ => {}
        }
        at += 1;
    }
    if let Some(name) = name.or_else(|| path.last().cloned()) {
        found.push(Import { name, path, public });
    }
    at
}

impl Source {
    pub(super) fn read(text: &str) -> Self {
        let tokens = without_tests(&tokens(text));
        let mut source = Self::default();
        let (mut at, mut depth, mut public) = (0, 0_usize, false);
        while at < tokens.len() {
            let next = |ahead: usize| tokens.get(at + ahead);
            let next_word = |ahead: usize| next(ahead).and_then(Token::word).unwrap_or_default().to_owned();
            let step = match &tokens[at] {
                Token::Sign('{') => {
                    depth += 1;
                    1
                }
                Token::Sign('}') => {
                    depth = depth.saturating_sub(1);
                    1
                }
                // A range, or the rest of a structure.
                Token::Sign('.') if next(1).is_some_and(|token| token.is(".")) => 2,
                // A field or a method; the type that it belongs to is not seen.
                Token::Sign('.') if next(1).is_some_and(|token| token.word().is_some()) => 2,
                Token::Word(word) => match word.as_str() {
                    "pub" => {
                        let group = next(1).is_some_and(|token| token.is("("));
                        let end = if group { after_group(&tokens, at + 1) } else { at + 1 };
                        public = tokens.get(end).is_some_and(|token| token.is("use"));
                        end - at
                    }
                    "use" if !next(1).is_some_and(|token| token.is("<")) => {
                        let end = imports(&tokens, at + 1, &[], std::mem::take(&mut public), &mut source.imports);
                        end - at
                    }
                    "mod" if next(2).is_some_and(|token| token.is(";")) => {
                        source.children.insert(next_word(1));
                        3
                    }
                    "macro_rules" => {
                        source.items.insert(next_word(2));
                        3
                    }
                    "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" if depth == 0 => {
                        source.items.insert(next_word(1));
                        1
                    }
                    _ => source.path(&tokens[at..]),
                },
                _ => 1,
            };
            at += step;
        }
        source
    }

    /// Adds the path at the front of the tokens; returns its length in tokens.
    fn path(&mut self, tokens: &[Token]) -> usize {
        let mut path: Vec<String> = tokens[0].word().map(str::to_owned).into_iter().collect();
        let mut at = 1;
        while let (Some(Token::Path), Some(Token::Word(word))) = (tokens.get(at), tokens.get(at + 1)) {
            path.push(word.clone());
            at += 2;
        }
        self.paths.insert(path);
        at
    }
}
