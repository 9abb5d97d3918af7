//! Choice between several forms of a reply by the request's `Accept` (RFC 9110, 12.5.1).

/// A client's preference for a media type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preference {
    /// The quality in thousandths; 0 if the client does not accept it.
    pub(crate) quality: u16,
    /// The client named exactly this type, not only a range that includes it.
    pub(crate) named: bool,
}

impl Preference {
    /// Returns true if the client named exactly this type, and accepts it.
    pub(crate) fn is_wanted(self) -> bool {
        self.named && self.quality > 0
    }
}

/// Returns the preference for a media type by the lines of a request's `Accept`. The most specific range counts, and of
/// equal ones the best: their parameters are not compared. Without an `Accept` every type is accepted alike.
pub(crate) fn preference<'a>(accept: impl IntoIterator<Item = &'a str>, kind: &str) -> Preference {
    let Some((main, _)) = kind.split_once('/') else { return Preference::default() };
    let mut best: Option<(u8, u16)> = None;
    let mut any = false;
    for line in accept {
        for range in line.split(',').filter(|range| !range.trim().is_empty()) {
            any = true;
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let in_main = || name.split_once('/').is_some_and(|(it, sub)| it.eq_ignore_ascii_case(main) && sub == "*");
            let specificity = match name {
                "*/*" => 0,
                _ if in_main() => 1,
                _ if name.eq_ignore_ascii_case(kind) => 2,
                _ => continue,
            };
            best = best.max(Some((specificity, quality(parts))));
        }
    }
    match best {
        Some((specificity, quality)) => Preference { quality, named: specificity == 2 },
        None => Preference { quality: if any { 0 } else { 1000 }, named: false },
    }
}

/// Returns the weight among the parameters of a range. An invalid one counts as 0: the client wants the type least.
fn quality<'a>(mut parameters: impl Iterator<Item = &'a str>) -> u16 {
    let weight = parameters.find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("q").then(|| value.trim())
    });
    let Some(weight) = weight else { return 1000 };
    let weight = weight.parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight));
    weight.map_or(0, |weight| (weight * 1000.0).round() as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(accept: &str, kind: &str) -> (u16, bool) {
        let preference = preference(accept.split('|').filter(|line| !line.is_empty()), kind);
        (preference.quality, preference.named)
    }

    #[test]
    fn the_most_specific_range_counts_in_any_order() {
        assert_eq!(of("", "text/html"), (1000, false));
        assert_eq!(of("*/*", "text/html"), (1000, false));
        assert_eq!(of("image/png", "text/html"), (0, false));
        assert_eq!(of("text/*;q=0.5, */*;q=0.9", "text/html"), (500, false));
        assert_eq!(of("*/*, TEXT/HTML ; Q=0.25", "text/html"), (250, true));
        assert_eq!(of("*/*|text/html;level=1;q=0.3,text/html;q=0.4", "text/html"), (400, true));
        assert_eq!(of("text/html;q=0", "text/html"), (0, true));
        assert_eq!(of("texty/*, text, /, ;, text/htm", "text/html"), (0, false));
    }

    #[test]
    fn an_invalid_weight_counts_as_zero() {
        for weight in ["", "x", "-1", "1.1", "inf", "NaN", "0.5.5"] {
            assert_eq!(of(&format!("text/html;q={weight}"), "text/html"), (0, true), "{weight}");
        }
    }
}
