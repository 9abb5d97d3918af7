//! What rows must contain to be shown: words, all of which must be found; `key:word` looks in one column, `-word` means
//! none.

/// A column's key and a row's text in it.
pub(crate) type FilterField<'a> = (&'static str, &'a str);

/// The words of a filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    unwanted: bool,
    text: String,
}

impl Filter {
    /// Reads what a person typed; anything can be read.
    pub(crate) fn new(text: &str) -> Self {
        let term = |word: &str| {
            let bare = word.strip_prefix('-').filter(|rest| !rest.is_empty());
            Term { unwanted: bare.is_some(), text: bare.unwrap_or(word).to_owned() }
        };
        Self { terms: text.split_whitespace().map(term).collect() }
    }

    /// It keeps every row.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The row with these fields is to be shown.
    pub(crate) fn keeps(&self, fields: &[FilterField<'_>]) -> bool {
        self.terms.iter().all(|term| term.is_in(fields) != term.unwanted)
    }
}

impl Term {
    fn is_in(&self, fields: &[FilterField<'_>]) -> bool {
        // A word with a colon may be an address, so only a column's own key makes it a question about that column.
        if let Some((key, word)) = self.text.split_once(':')
            && let Some((_, text)) = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(key))
        {
            let number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            return if number && key.eq_ignore_ascii_case("hop") { *text == word } else { contains(text, word) };
        }
        fields.iter().any(|(_, text)| contains(text, &self.text))
    }
}

/// The text holds the word, whatever the case of its ASCII letters; nothing is copied, as there can be many rows.
fn contains(text: &str, word: &str) -> bool {
    word.is_empty() || text.as_bytes().windows(word.len()).any(|part| part.eq_ignore_ascii_case(word.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeps(filter: &str) -> bool {
        Filter::new(filter).keeps(&[
            ("hop", "12"),
            ("state", "stream"),
            ("peer", "127.0.0.1:7001"),
            ("file", "A/b.ISO"),
        ])
    }

    #[test]
    fn all_words_must_be_there() {
        assert!(keeps("") && keeps("  ") && keeps("iso stream") && keeps("7001"));
        assert!(!keeps("iso page"));
    }

    #[test]
    fn a_key_looks_in_its_own_column() {
        assert!(keeps("state:str") && keeps("hop:12") && keeps("FILE:iso") && keeps("state:"));
        assert!(!keeps("hop:1") && !keeps("state:iso"));
        assert!(keeps("127.0.0.1:7001"), "an address is no key");
    }

    #[test]
    fn a_dash_means_none() {
        assert!(keeps("-page stream -hop:3") && keeps("-"[..0].trim()));
        assert!(!keeps("-stream") && !keeps("-hop:12"));
    }
}
