//! Keys of all bindings: the defaults of the table, some replaced by those that the user chose.

use crokey::{KeyCombination, KeyCombinationFormat, OneToThree};
use crossterm::event::{KeyCode, KeyModifiers};

use super::binding::Binding;
use super::table::TABLE;
use crate::ui::action::Action;

/// Keys of every binding, in the order of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keymap {
    pub(super) keys: Vec<Vec<KeyCombination>>,
}

impl Default for Keymap {
    fn default() -> Self {
        let keys = |binding: &Binding| binding.keys.iter().filter_map(|name| parse(name)).collect();
        Self { keys: TABLE.iter().map(keys).collect() }
    }
}

impl Keymap {
    /// Returns the name of the first key of a binding; empty where it has none.
    pub fn name(&self, index: usize) -> String {
        self.keys.get(index).and_then(|keys| keys.first()).map_or_else(String::new, |key| name(*key))
    }

    /// Returns the names of all keys of a binding.
    pub fn names(&self, index: usize) -> Vec<String> {
        self.keys.get(index).into_iter().flatten().map(|key| name(*key)).collect()
    }

    /// Returns the name of the first key of this action.
    pub fn key_of(&self, action: Action) -> String {
        TABLE.iter().position(|binding| binding.action == action).map_or_else(String::new, |index| self.name(index))
    }

    /// Returns the name of the first key of the binding with this id; empty where it has none.
    pub fn key_of_id(&self, id: &str) -> String {
        TABLE.iter().position(|binding| binding.id == id).map_or_else(String::new, |index| self.name(index))
    }

    /// Returns whether this is a key of the binding.
    pub fn has(&self, index: usize, key: KeyCombination) -> bool {
        self.keys.get(index).is_some_and(|keys| keys.contains(&key))
    }
}

/// Parses the name of one key: a character as it is typed, or `enter`, `ctrl-l`, `f1`, `shift-tab`.
pub(super) fn parse(text: &str) -> Option<KeyCombination> {
    let mut chars = text.chars();
    let key = match (chars.next(), chars.next()) {
        (Some(c), None) => KeyCombination::from(KeyCode::Char(c)),
        _ if text.eq_ignore_ascii_case("shift-tab") => crokey::parse("backtab").ok()?,
        _ => crokey::parse(text).ok()?,
    };
    key.is_ansi_compatible().then(|| key.normalized())
}

/// Returns the usual name of a key.
pub(crate) fn name(key: KeyCombination) -> String {
    match (key.codes, key.modifiers) {
        (OneToThree::One(KeyCode::Char(c)), KeyModifiers::NONE | KeyModifiers::SHIFT) if c != ' ' => c.to_string(),
        (OneToThree::One(KeyCode::BackTab), _) => "shift-tab".to_owned(),
        (OneToThree::One(KeyCode::PageUp), KeyModifiers::NONE) => "pgup".to_owned(),
        (OneToThree::One(KeyCode::PageDown), KeyModifiers::NONE) => "pgdn".to_owned(),
        _ => KeyCombinationFormat::default().to_string(key).to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn names_of_default_keys_parse_back() {
        for (index, binding) in TABLE.iter().enumerate() {
            let keys = &Keymap::default().keys[index];
            assert_eq!(keys.len(), binding.keys.len(), "{}: {:?}", binding.id, binding.keys);
            for key in keys {
                assert_eq!(parse(&name(*key).replace("pgup", "pageup").replace("pgdn", "pagedown")), Some(*key));
            }
        }
    }

    #[test]
    fn equal_keys_in_different_forms_match() {
        let event = |code, modifiers| KeyCombination::from(KeyEvent::new(code, modifiers));
        assert_eq!(parse("G"), Some(event(KeyCode::Char('G'), KeyModifiers::NONE)));
        assert_eq!(parse("G"), Some(event(KeyCode::Char('G'), KeyModifiers::SHIFT)));
        assert_eq!(parse("shift-tab"), Some(event(KeyCode::BackTab, KeyModifiers::SHIFT)));
        assert_eq!(parse("ü").map(name).as_deref(), Some("ü"));
        assert_eq!((parse("a-b"), parse(""), parse("hyper-x")), (None, None, None));
    }
}
