//! Custom keys from the `[keys]` table of the configuration file: all are checked before any is used.

use super::binding::BROWSE;
use super::keys::{self, Keymap, parse};
use super::table::TABLE;

impl Keymap {
    /// Returns the default keys with some replaced: pairs of a binding's id and its new keys. An empty list unbinds it.
    ///
    /// # Errors
    /// A sentence for the user: an unknown id, an unknown key, or one key for two actions in one panel.
    pub fn with(changes: &[(String, Vec<String>)]) -> Result<Self, String> {
        let mut map = Self::default();
        for (id, names) in changes {
            let known: Vec<usize> = indices(id);
            if known.is_empty() {
                return Err(format!("{id:?} is not an action: there are {}", ids().join(", ")));
            }
            let keys = names.iter().map(|name| parse(name).ok_or_else(|| unknown_key(id, name)));
            let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
            for index in known {
                map.keys[index].clone_from(&keys);
            }
        }
        map.check_conflicts()?;
        Ok(map)
    }

    /// Checks that no key has two actions in one mode and panel.
    fn check_conflicts(&self) -> Result<(), String> {
        for (i, a) in TABLE.iter().enumerate() {
            for (j, b) in TABLE.iter().enumerate().skip(i + 1) {
                let together = a.modes & b.modes != 0 && a.panels & b.panels != 0;
                let shared = self.keys[i].iter().find(|key| self.keys[j].contains(key));
                if let (true, Some(key)) = (together, shared) {
                    let key = keys::name(*key);
                    return Err(format!("{key:?} is the key of both {} and {}: give one of them another", a.id, b.id));
                }
            }
        }
        Ok(())
    }
}

/// Returns the indices of the bindings with this id; the keys of text input and dialogs cannot be changed.
fn indices(id: &str) -> Vec<usize> {
    let found = TABLE.iter().enumerate().filter(|(_, binding)| binding.modes & BROWSE != 0 && binding.id == id);
    found.map(|(index, _)| index).collect()
}

/// Returns all ids that the configuration file may name.
pub(super) fn ids() -> Vec<&'static str> {
    TABLE.iter().filter(|binding| binding.modes & BROWSE != 0).map(|binding| binding.id).collect()
}

fn unknown_key(id: &str, name: &str) -> String {
    format!("{id}: {name:?} is not a key: write a character, or a name such as enter, ctrl-l, f5, shift-tab")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(changes: &[(&str, &[&str])]) -> Result<Keymap, String> {
        let owned = |(id, keys): &(&str, &[&str])| ((*id).to_owned(), keys.iter().map(|k| (*k).to_owned()).collect());
        Keymap::with(&changes.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn default_keys_have_no_conflicts_and_ids_are_unique() {
        assert_eq!(Keymap::default().check_conflicts(), Ok(()));
        let mut all = ids();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), ids().len());
    }

    #[test]
    fn keys_can_be_replaced() {
        let map = with(&[("fetch", &["g", "F5"]), ("first", &["home"])]).unwrap();
        let at = indices("fetch")[0];
        assert_eq!(map.names(at), ["g", "f5"]);
        assert!(with(&[("freeze", &[])]).unwrap().names(indices("freeze")[0]).is_empty());
    }

    #[test]
    fn invalid_keys_are_rejected_with_a_reason() {
        let fails = |changes: &[(&str, &[&str])]| with(changes).unwrap_err();
        assert!(fails(&[("fecth", &["f"])]).starts_with("\"fecth\" is not an action: there are "));
        assert!(fails(&[("fetch", &["hyper-f"])]).starts_with("fetch: \"hyper-f\" is not a key"));
        assert_eq!(fails(&[("fetch", &["q"])]), "\"q\" is the key of both fetch and quit: give one of them another");
        assert!(with(&[("cancel", &["Z"]), ("stop-node", &["Z"])]).is_ok(), "their panels differ");
    }
}
