//! The person's own keys, from the `[keys]` table of the configuration file: checked whole before any is used.

use super::binding::BROWSE;
use super::keys::{self, Keymap, parse};
use super::table::TABLE;

impl Keymap {
    /// The default keys with some replaced: pairs of a binding's id and its new keys. A list without keys unbinds it.
    ///
    /// # Errors
    /// A sentence for the user: an unknown id, an unknown key, or one key for two things in one place.
    pub fn with(changes: &[(String, Vec<String>)]) -> Result<Self, String> {
        let mut map = Self::default();
        for (id, names) in changes {
            let known: Vec<usize> = places(id);
            if known.is_empty() {
                return Err(format!("{id:?} is nothing that has a key: there are {}", ids().join(", ")));
            }
            let keys = names.iter().map(|name| parse(name).ok_or_else(|| no_key(id, name)));
            let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
            for index in known {
                map.keys[index].clone_from(&keys);
            }
        }
        map.unambiguous()?;
        Ok(map)
    }

    /// No key may mean two things where both can be pressed.
    fn unambiguous(&self) -> Result<(), String> {
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

/// The bindings of the dashboard with this id; the keys of lines and lists cannot be changed.
fn places(id: &str) -> Vec<usize> {
    let own = TABLE.iter().enumerate().filter(|(_, binding)| binding.modes & BROWSE != 0 && binding.id == id);
    own.map(|(index, _)| index).collect()
}

/// All ids that the configuration file may name.
pub(super) fn ids() -> Vec<&'static str> {
    TABLE.iter().filter(|binding| binding.modes & BROWSE != 0).map(|binding| binding.id).collect()
}

fn no_key(id: &str, name: &str) -> String {
    format!("{id}: {name:?} is no key: write a character, or a name such as enter, ctrl-l, f5, shift-tab")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(changes: &[(&str, &[&str])]) -> Result<Keymap, String> {
        let owned = |(id, keys): &(&str, &[&str])| ((*id).to_owned(), keys.iter().map(|k| (*k).to_owned()).collect());
        Keymap::with(&changes.iter().map(owned).collect::<Vec<_>>())
    }

    #[test]
    fn no_default_key_means_two_things_and_no_id_stands_twice() {
        assert_eq!(Keymap::default().unambiguous(), Ok(()));
        let mut all = ids();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), ids().len());
    }

    #[test]
    fn a_person_may_move_keys_about() {
        let map = with(&[("fetch", &["g", "F5"]), ("first", &["home"])]).unwrap();
        let at = places("fetch")[0];
        assert_eq!(map.names(at), ["g", "f5"]);
        assert!(with(&[("freeze", &[])]).unwrap().names(places("freeze")[0]).is_empty());
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_reason() {
        let fails = |changes: &[(&str, &[&str])]| with(changes).unwrap_err();
        assert!(fails(&[("fecth", &["f"])]).starts_with("\"fecth\" is nothing that has a key: there are "));
        assert!(fails(&[("fetch", &["hyper-f"])]).starts_with("fetch: \"hyper-f\" is no key"));
        assert_eq!(fails(&[("fetch", &["q"])]), "\"q\" is the key of both fetch and quit: give one of them another");
        assert!(with(&[("cancel", &["Z"]), ("stop-node", &["Z"])]).is_ok(), "they are never alive together");
    }
}
