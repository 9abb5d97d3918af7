//! Row filter: words that a row must all contain; `key:word` searches one column, and a row must not contain the word
//! of `-word`.

use super::focus::Panel;

/// Key of a column, and the text of a row in it.
pub(crate) type FilterField<'a> = (&'static str, &'a str);

/// Returns the fields that the filter of a panel knows, as they are typed.
pub(crate) fn filter_fields(panel: Panel) -> &'static [&'static str] {
    match panel {
        Panel::Connections => &["hop:", "xfer:", "file:", "state:", "in:", "out:", "key:", "protocol:"],
        Panel::Transfers => &["xfer:", "file:", "state:"],
        Panel::Log => &["hop:", "text:"],
        Panel::Files => &["file:", "state:", "error:"],
        Panel::Hops | Panel::Chart | Panel::Setup | Panel::Nodes => &[],
    }
}

/// Filter of the rows of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    excluded: bool,
    text: String,
}

impl Filter {
    /// Parses what the user typed; any text is valid.
    pub(crate) fn new(text: &str) -> Self {
        let term = |word: &str| {
            let bare = word.strip_prefix('-').filter(|rest| !rest.is_empty());
            Term { excluded: bare.is_some(), text: bare.unwrap_or(word).to_owned() }
        };
        Self { terms: text.split_whitespace().map(term).collect() }
    }

    /// Returns whether it keeps every row.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Returns whether the row with these fields is shown.
    pub(crate) fn keeps(&self, fields: &[FilterField<'_>]) -> bool {
        self.terms.iter().all(|term| term.is_in(fields) != term.excluded)
    }
}

impl Term {
    fn is_in(&self, fields: &[FilterField<'_>]) -> bool {
        // A word with a colon may be an address, so only the key of a column limits the search to that column.
        if let Some((key, word)) = self.text.split_once(':')
            && let Some((_, text)) = fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(key))
        {
            let number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            return if number && key.eq_ignore_ascii_case("hop") { *text == word } else { contains(text, word) };
        }
        fields.iter().any(|(_, text)| contains(text, &self.text))
    }
}

/// Returns whether the text contains the word, ignoring ASCII case; without copying, as there can be many rows.
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
    fn all_words_must_match() {
        assert!(keeps("") && keeps("  ") && keeps("iso stream") && keeps("7001"));
        assert!(!keeps("iso admin"));
    }

    #[test]
    fn a_key_searches_its_column() {
        assert!(keeps("state:str") && keeps("hop:12") && keeps("FILE:iso") && keeps("state:"));
        assert!(!keeps("hop:1") && !keeps("state:iso"));
        assert!(keeps("127.0.0.1:7001"), "an address is not a key");
    }

    #[test]
    fn a_dash_excludes_rows() {
        assert!(keeps("-admin stream -hop:3") && keeps("-"[..0].trim()));
        assert!(!keeps("-stream") && !keeps("-hop:12"));
    }
}
