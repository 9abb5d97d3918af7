//! `--check`: the setup times of each leg of a chain, as a table or JSON, without a transfer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tracing::Level;

use super::{on_one_thread, reported};
use crate::cli::{FetchPlan, OutputOptions};
use crate::console::signals::stop_on_signals;
use crate::console::{self, start_log};
use crate::error::{Error, KeptBytes};
use crate::fingerprint::Fingerprint;
use crate::net::diagnose::{reach, reported_keys};
use crate::net::fetch::{self as client, Checked};
use crate::net::upstream::protocols::UpstreamShared;
use crate::plan::fetch_job;
use crate::report::{CheckReport, Report};
use crate::route::{Hop, Route};
use crate::snapshot::timing::{Step, WaterfallRow};
use crate::units::{Bytes, HumanDuration};
use crate::waterfall;
use crate::wire::Leg;

/// Columns of a bar: with names and figures, most lines fit into 80 columns.
const BAR: usize = 24;

/// Measures the setup of an input file's chain, up to the reply head, and prints it.
///
/// # Errors
/// `Error::Input` if the input file is invalid; `Error::Hop` if a hop fails or does not have the file;
/// `Error::Interrupted` after a signal; `Error::Disk` if the log or the output cannot be written; `Error::Other` if the
/// runtime cannot be started.
pub fn check(input: &Path, plan: &FetchPlan, options: &OutputOptions) -> Result<(), Error> {
    let checked = start_log(options, Level::WARN).and_then(|_log| {
        let route = plan.read_route(input)?;
        let (checked, reported) = on_one_thread(request(&route, plan))?;
        Ok((route, checked, reported))
    });
    let written = if options.json {
        let report = checked.as_ref().ok().map(|(route, checked, reported)| CheckReport {
            etag: checked.etag.as_deref().map(Into::into),
            last_modified: checked.last_modified.as_deref().map(Into::into),
            ..CheckReport::new(route, checked.size, checked.protocol, &checked.legs, reported)
        });
        console::out(&Report::of_check(report, checked.as_ref().err()).to_json())
    } else if let Ok((route, checked, reported)) = &checked {
        console::out(&format!("{}\n{}", table(route, checked), keys(route, reported)))
    } else {
        Ok(())
    };
    reported(checked.map(|_| ()), written)
}

async fn request(route: &Route, plan: &FetchPlan) -> Result<(Checked, Vec<Option<Fingerprint>>), Error> {
    let (stop, _signals) = stop_on_signals()?;
    let upstream = client::client(Arc::new(UpstreamShared::default()), plan.limits, plan.protocol);
    let mut upstream = upstream.signed_by(plan.identity.clone());
    let job = fetch_job(plan, 1, route.clone());
    let checked = client::check(&mut upstream, &job, &stop).await?;
    let reach = reach(checked.legs.len(), Some(checked.protocol));
    let reported = tokio::select! {
        biased;
        () = stop.cancelled() => return Err(Error::Interrupted { kept: KeptBytes::default() }),
        reported = reported_keys(route, reach, plan.identity.as_ref()) => reported,
    };
    Ok((checked, reported))
}

/// Formats the key of each hop that is known, and whether the chain is encrypted from end to end.
fn keys(route: &Route, reported: &[Option<Fingerprint>]) -> String {
    let of_hop = |(at, hop): (usize, &Hop)| {
        let name = hop_name(at + 1, hop);
        match (hop.key, reported.get(at).copied().flatten()) {
            (Some(key), _) => Some(format!("{name} has the key {key}, as the input file says")),
            (None, Some(key)) => {
                Some(format!("{name} reports the key {key}, which is checked and used only with key= in its line"))
            }
            (None, None) => None,
        }
    };
    let mut lines: Vec<String> = route.hops().iter().enumerate().filter_map(of_hop).collect();
    lines.push(if route.is_encrypted() {
        "encrypted from end to end: relays see neither names nor contents".to_owned()
    } else {
        "not encrypted from end to end: the last hop has no key= in the input file".to_owned()
    });
    lines.join("\n")
}

/// Formats the file on one line, then one leg per line; `wait` includes everything upstream of that leg.
fn table(route: &Route, checked: &Checked) -> String {
    let names: Vec<String> = route.hops().iter().enumerate().map(|(index, hop)| hop_name(index + 1, hop)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default().max(8);
    let row = |[leg, resolve, connect, wait]: [&str; 4], bar: &str| {
        format!("{leg:<width$}  {resolve:>9}  {connect:>9}  {wait:>9}  {bar}").trim_end().to_owned()
    };
    let rows = waterfall::rows(&checked.legs, &[], (None, None));
    let mut lines = vec![
        format!("{}: {} bytes ({})", route.file.shown(), checked.size, Bytes(checked.size)),
        row(["leg to", "resolve", "connect", "wait"], "- resolve  = connect  # wait"),
    ];
    for (index, name) in names.iter().enumerate() {
        let [resolve, connect, wait] = figures(checked.legs.get(index));
        lines.push(row([name, &resolve, &connect, &wait], &bar(&rows, index)));
    }
    lines.join("\n")
}

/// Draws the bar of the leg from one stage: `-` for resolving, `=` for connecting, `#` for waiting.
fn bar(rows: &[WaterfallRow], stage: usize) -> String {
    let end = rows.iter().map(WaterfallRow::end_ms).fold(0.0, f64::max);
    let cell = |ms: f64| if end > 0.0 { ms / end * BAR as f64 } else { 0.0 };
    let mut bar = [' '; BAR];
    for row in rows.iter().filter(|row| row.stage == stage) {
        let glyph = match row.step {
            Step::Resolve => '-',
            Step::Connect => '=',
            Step::Wait | Step::FirstByte | Step::LastByte => '#',
        };
        // At least one column.
        let first = (cell(row.offset_ms) as usize).min(BAR - 1);
        let last = (cell(row.end_ms()).round() as usize).clamp(first + 1, BAR);
        bar[first..last].fill(glyph);
    }
    bar.iter().collect()
}

fn hop_name(number: usize, hop: &Hop) -> String {
    format!("hop {number} ({})", hop.label())
}

/// Formats a leg's three times; a hop that speaks the legacy protocol does not report its own.
fn figures(leg: Option<&Leg>) -> [String; 3] {
    let Some(leg) = leg else { return ["-".to_owned(), "-".to_owned(), "-".to_owned()] };
    [leg.resolve_ms, leg.connect_ms, leg.wait_ms].map(|ms| match ms {
        ms if ms.is_finite() && ms > 0.0 => HumanDuration(Duration::from_secs_f64(ms.min(1e9) / 1000.0)).to_string(),
        _ => "-".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::route::Protocol;

    #[test]
    fn the_table_has_a_line_per_leg() {
        let route = Route::parse(b"f\n10.0.0.1 9101\n10.0.0.2 9102 name=core\n").unwrap();
        let legs = vec![Leg { resolve_ms: 0.0, connect_ms: 4.0, wait_ms: 12.0 }];
        let checked = Checked { size: 1500, protocol: Protocol::Http, etag: None, last_modified: None, legs };
        let text = table(&route, &checked);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "f: 1500 bytes (1.5 KB)");
        assert_eq!(lines[2], "hop 1 (10.0.0.1:9101)          -    4.00 ms      12 ms  ======##################");
        assert!(lines[3].starts_with("hop 2 (core)") && lines[3].ends_with('-'));
    }

    #[test]
    fn keys_are_proven_or_reported_or_unknown() {
        let key = |digit: &str| format!("sha256:{}=", digit.repeat(43));
        let (a, b) = (key("A"), key("Q"));
        let text = |last: &str, reported: &str| {
            let route = Route::parse(format!("f\nh1 1\nh2 2\nh3 3{last}\n").as_bytes()).unwrap();
            keys(&route, &[None, reported.parse().ok(), None])
        };
        let plain = text("", "");
        assert!(plain.starts_with("not encrypted from end to end: ") && plain.lines().count() == 1, "{plain}");
        let encrypted = text(&format!(" key={a}"), &b);
        let lines: Vec<&str> = encrypted.lines().collect();
        assert!(lines[0].starts_with(&format!("hop 2 (h2:2) reports the key {b}, which is checked and used only")));
        assert_eq!(lines[1], format!("hop 3 (h3:3) has the key {a}, as the input file says"));
        assert!(lines[2].starts_with("encrypted from end to end: "), "{encrypted}");
    }
}
