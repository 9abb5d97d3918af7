//! What the user chose on the screen, to be remembered across runs. Plain data: the dashboard reads and writes it.

use serde::{Deserialize, Serialize};

use super::columns::{CONNS, HOPS, NODES, Sort};
use super::grid::Column;
use super::history::ChartSpan;
use super::state::UiState;

/// Tables with columns that can be hidden, in the order of `UiState::hidden`.
const TABLES: [&[Column]; 3] = [&HOPS, &CONNS, &NODES];

/// What the user chose on the screen; a missing value is the default. Names, not positions: they survive a version with
/// other columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preferences {
    /// Name of the theme.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theme: Option<String>,
    /// The mouse is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mouse: Option<bool>,
    /// Time span of the charts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<String>,
    /// Long log lines are wrapped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrap: Option<bool>,
    /// Titles of the hidden columns of the hops, the connections and the nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hidden: Option<[Vec<String>; 3]>,
    /// Title of the column by which connections are sorted, and whether in descending order; an empty title is by order
    /// of arrival.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<(String, bool)>,
}

impl Preferences {
    /// Returns these with what differs between the start and the end of a run.
    #[must_use]
    pub fn changed(self, before: &Self, after: Self) -> Self {
        fn pick<T: PartialEq>(kept: Option<T>, before: Option<&T>, after: Option<T>) -> Option<T> {
            if after.as_ref() == before { kept } else { after }
        }
        Self {
            theme: pick(self.theme, before.theme.as_ref(), after.theme),
            mouse: pick(self.mouse, before.mouse.as_ref(), after.mouse),
            span: pick(self.span, before.span.as_ref(), after.span),
            wrap: pick(self.wrap, before.wrap.as_ref(), after.wrap),
            hidden: pick(self.hidden, before.hidden.as_ref(), after.hidden),
            sort: pick(self.sort, before.sort.as_ref(), after.sort),
        }
    }
}

impl UiState {
    /// Returns what the user would want again.
    pub fn preferences(&self) -> Preferences {
        let titles = |(columns, hidden): (&[Column], u32)| -> Vec<String> {
            let hidden = columns.iter().enumerate().filter(|(at, _)| hidden & (1 << at) != 0);
            hidden.map(|(_, column)| column.title.to_owned()).collect()
        };
        let sort = self.lists.sort().map_or_else(
            || (String::new(), false),
            |sort| (CONNS.get(sort.column).map_or("", |column| column.title).to_owned(), sort.down),
        );
        Preferences {
            theme: Some(self.theme.name().to_owned()),
            mouse: Some(self.mouse),
            span: Some(self.span.name().to_owned()),
            wrap: Some(self.wrap),
            hidden: Some([0, 1, 2].map(|table| titles((TABLES[table], self.hidden[table])))),
            sort: Some(sort),
        }
    }

    /// Applies what was remembered, except the theme; unknown names are ignored.
    pub fn apply_preferences(&mut self, wanted: &Preferences) {
        self.mouse = wanted.mouse.unwrap_or(self.mouse);
        self.wrap = wanted.wrap.unwrap_or(self.wrap);
        let span = wanted.span.as_ref().and_then(|name| ChartSpan::ALL.into_iter().find(|span| span.name() == name));
        self.span = span.unwrap_or(self.span);
        for (table, titles) in wanted.hidden.iter().flatten().enumerate() {
            let columns = TABLES[table].iter().enumerate().filter(|(_, column)| column.drop > 0);
            let hidden = columns.filter(|(_, column)| titles.iter().any(|title| title == column.title));
            self.hidden[table] = hidden.fold(0, |bits, (at, _)| bits | 1 << at);
        }
        if let Some((title, down)) = &wanted.sort {
            let column = CONNS.iter().position(|column| column.title == title);
            self.lists.set_sort(column.map(|column| Sort { column, down: *down }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::ColorScheme;
    use crate::ui::keymap::Keymap;
    use crate::ui::theme::Theme;

    fn state() -> UiState {
        UiState::new(Theme::default(), Keymap::default())
    }

    #[test]
    fn a_screen_comes_back_as_it_was() {
        let mut state = state();
        state.theme = Theme::new(false, ColorScheme::Contrast);
        (state.mouse, state.wrap, state.span) = (true, true, ChartSpan::Ten);
        let bit = |title| 1 << CONNS.iter().position(|column| column.title == title).unwrap();
        state.hidden = [1 << 6, bit("State") | bit("cwnd"), 0];
        state.lists.set_sort(Some(Sort { column: 8, down: true }));
        let wanted = Preferences { hidden: state.preferences().hidden, ..state.preferences() };
        let json = serde_json::to_string(&wanted).unwrap();
        let mut next = self::state();
        next.apply_preferences(&serde_json::from_str(&json).unwrap());
        // A column that cannot be hidden, as one with priority 0, stays.
        assert_eq!(next.hidden, [1 << 6, bit("cwnd"), 0]);
        assert_eq!((next.mouse, next.wrap, next.span), (true, true, ChartSpan::Ten));
        assert_eq!(wanted.theme.as_deref(), Some("contrast"));
        assert_eq!(next.lists.sort(), Some(Sort { column: 8, down: true }));
    }

    #[test]
    fn unknown_names_change_nothing() {
        let mut state = state();
        let before = state.preferences();
        let json = r##"{"theme":"neon","span":"1 week","sort":["None",true],"hidden":[["x"],[],["#"]],"later":5}"##;
        state.apply_preferences(&serde_json::from_str(json).unwrap());
        assert_eq!(state.preferences(), before);
    }

    #[test]
    fn only_what_the_user_changed_is_remembered() {
        let kept = Preferences { theme: Some("mono".into()), ..Preferences::default() };
        let mut state = state();
        state.theme = Theme::new(false, ColorScheme::Light);
        let before = state.preferences();
        state.wrap = true;
        let next = kept.changed(&before, state.preferences());
        let expected = Preferences { theme: Some("mono".into()), wrap: Some(true), ..Preferences::default() };
        assert_eq!(next, expected, "the theme of this run came from a flag");
    }
}
