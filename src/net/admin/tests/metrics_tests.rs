//! `/metrics` in both formats, parsed as strictly as their readers do.

use std::collections::{BTreeMap, BTreeSet};

use super::{bearer, get, route, send, site, text};
use crate::faults::Faults;
use crate::net::admin::metrics::{Format, render};
use crate::route::{FileName, Protocol};
use crate::wire::{FailedAction, Method, Problem, Reason, TransferId};

/// The `Accept` of Prometheus 3.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
     application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
     text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// A parsed page: the type of each metric, and its series in order, with their values.
type Parsed = BTreeMap<String, (String, Vec<(String, f64)>)>;

/// Parses a page of this format; an error if a strict reader would refuse it or take it for the other format.
fn parse(page: &str, format: Format) -> Result<Parsed, String> {
    let open = format == Format::OpenMetrics;
    let body = if open { page.strip_suffix("# EOF\n").ok_or("no EOF")? } else { page };
    let (mut metrics, mut seen) = (Parsed::new(), BTreeSet::new());
    let (mut current, mut helped, mut unit) = (None::<String>, None::<String>, None::<String>);
    let complete = body.is_empty() || body.ends_with('\n');
    for line in body.lines() {
        let wrong = |why: &str| Err(format!("{why}: {line}"));
        if let Some(comment) = line.strip_prefix("# ") {
            let mut parts = comment.splitn(3, ' ');
            let (word, name, rest) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            match word {
                Some("HELP") if rest.ends_with('.') => helped = Some(name.to_owned()),
                Some("TYPE") if helped.as_deref() == Some(name) => {
                    let known = if open { ["counter", "gauge", "info"] } else { ["counter", "gauge", "untyped"] };
                    let fits = match rest {
                        "counter" => open != name.ends_with("_total"),
                        _ => !name.ends_with("_total"),
                    };
                    if !known.contains(&rest) || !fits {
                        return wrong("this type is none here");
                    }
                    if metrics.insert(name.to_owned(), (rest.to_owned(), Vec::new())).is_some() {
                        return wrong("a metric is there twice");
                    }
                    (current, unit) = (Some(name.to_owned()), None);
                }
                Some("UNIT") if open && current.as_deref() == Some(name) && unit.is_none() => {
                    if rest.is_empty() || !name.ends_with(&format!("_{rest}")) {
                        return wrong("the name does not end with its unit");
                    }
                    unit = Some(rest.to_owned());
                }
                _ => return wrong("this comment is none here"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').ok_or_else(|| format!("no value: {line}"))?;
        let (name, labels) = series.split_once('{').map_or((series, None), |(name, labels)| (name, Some(labels)));
        let Some((metric, (kind, values))) = current.as_ref().and_then(|name| metrics.get_key_value(name)) else {
            return wrong("a series of no metric");
        };
        let suffix = match kind.as_str() {
            "counter" if open => "_total",
            "info" => "_info",
            _ => "",
        };
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if name != format!("{metric}{suffix}") || !name.starts_with("chainview_") || !name.bytes().all(plain) {
            return wrong("another metric's name");
        }
        let pair = |pair: &str| {
            let (name, value) = pair.split_once("=\"")?;
            let value = value.strip_suffix('"')?;
            (name.bytes().all(plain) && !value.contains(['"', '\\', '\n'])).then_some(())
        };
        if labels.is_some_and(|labels| labels.strip_suffix('}').is_none_or(|labels| pair(labels).is_none())) {
            return wrong("no label");
        }
        let Some(number) = value.parse::<f64>().ok().filter(|value| value.is_finite()) else {
            return wrong("no value");
        };
        if !seen.insert(series.to_owned()) || (kind == "counter" && number < 0.0) {
            return wrong("there twice, or below zero");
        }
        let metric = metric.clone();
        let mut values = values.clone();
        values.push((series.to_owned(), number));
        let kind = kind.clone();
        metrics.insert(metric, (kind, values));
    }
    let empty = metrics.iter().find(|(_, (_, values))| values.is_empty());
    match (complete, empty) {
        (false, _) => Err("the last line has no end".to_owned()),
        (true, Some((name, _))) => Err(format!("{name} has no series")),
        (true, None) => Ok(metrics),
    }
}

#[test]
fn the_parser_of_these_tests_refuses_errors() {
    let text = |page: &str| parse(page, Format::Prometheus).map(|metrics| metrics.len());
    let open = |page: &str| parse(page, Format::OpenMetrics).map(|metrics| metrics.len());
    let counter = "# HELP chainview_a_total A.\n# TYPE chainview_a_total counter\nchainview_a_total 1\n";
    let (gauge, info) = (
        "# HELP chainview_b B.\n# TYPE chainview_b gauge\nchainview_b{x=\"y\"} 1\n",
        "# HELP chainview_c C.\n# TYPE chainview_c info\nchainview_c_info{x=\"y\"} 1\n",
    );
    assert_eq!(text(&[counter, gauge].concat()), Ok(2));
    assert_eq!(open(&[gauge, info, "# EOF\n"].concat()), Ok(2));
    for wrong in [
        &counter.replace("_total counter", " counter"),
        &counter.replace("a_total 1", "a 1"),
        &counter.replace("A.", "A"),
        &counter.replace(" 1\n", " 1"),
        &counter.replace(" 1\n", " inf\n"),
        &[counter, counter].concat(),
        &[gauge, "chainview_b{x=\"y\"} 2\n"].concat(),
        &[gauge, "chainview_d 2\n"].concat(),
        &[gauge, "# EOF\n"].concat(),
        "# TYPE chainview_b gauge\nchainview_b 1\n",
        "# HELP chainview_b B.\n# TYPE chainview_b gauge\n# UNIT chainview_b b\nchainview_b 1\n",
        info,
    ] {
        assert!(text(wrong).is_err(), "{wrong}");
    }
    for wrong in [gauge, &[counter, "# EOF\n"].concat(), &[gauge, "# EOF\n", gauge].concat()] {
        assert!(open(wrong).is_err(), "{wrong}");
    }
}

#[tokio::test]
async fn both_formats_have_equal_contents_and_differ() {
    let faults = Faults { limit: Some(1000), delay_ms: 250, truncate: Some(7), stall: true, ..Faults::default() };
    let site = site(|config| config.faults = faults).await;
    let conn = site.node.registry.open(site.address);
    let job = conn.begin_job(TransferId(1), Method::Get, &FileName::new(b"f").unwrap(), Protocol::Http);
    job.job().meter.record_read(5);
    job.failed(&Problem::here(Reason::NotFound, FailedAction::Open, "x", ""));
    let page = |format| render(&site.node, format).unwrap();
    let (open, text) = (page(Format::OpenMetrics), page(Format::Prometheus));
    assert!(parse(&open, Format::Prometheus).is_err() && parse(&text, Format::OpenMetrics).is_err());
    let parsed = parse(&open, Format::OpenMetrics).unwrap_or_else(|error| panic!("{error}\n{open}"));
    let older = parse(&text, Format::Prometheus).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let series = |metrics: &Parsed| -> Vec<String> {
        metrics.values().flat_map(|(_, values)| values.iter().map(|(series, _)| series.clone())).collect()
    };
    assert_eq!(series(&parsed).len(), series(&older).len());
    assert!(series(&parsed).iter().all(|name| text.contains(&format!("\n{name} "))), "{open}{text}");
    assert_eq!((parsed["chainview_build"].0.as_str(), older["chainview_build_info"].0.as_str()), ("info", "gauge"));
    for (metric, series, value) in [
        ("received_bytes", "received_bytes_total", 5.0),
        ("tunnels_opened", "tunnels_opened_total", 0.0),
        ("tunnel_sent_bytes", "tunnel_sent_bytes_total", 0.0),
        ("requests_failed", "requests_failed_total{reason=\"not-found\"}", 1.0),
        ("connections", "connections{state=\"lingering\"}", 0.0),
        ("connections_accepted", "connections_accepted_total", 1.0),
        ("upstream_idle_connections", "upstream_idle_connections", 0.0),
        ("upstream_connections_opened", "upstream_connections_opened_total", 0.0),
        ("upstream_connections_reused", "upstream_connections_reused_total", 0.0),
        ("upstream_connections_unused", "upstream_connections_unused_total{reason=\"found_closed\"}", 0.0),
        ("wait_seconds", "wait_seconds_total{kind=\"limited\"}", 0.0),
        ("rate_limit_bytes_per_second", "rate_limit_bytes_per_second", 1000.0),
        ("injected_delay_seconds", "injected_delay_seconds", 0.25),
        ("injected_jitter_seconds", "injected_jitter_seconds", 0.0),
        ("truncate_bytes", "truncate_bytes", 7.0),
        ("fault_active", "fault_active{fault=\"stall\"}", 1.0),
        ("fault_active", "fault_active{fault=\"reject\"}", 0.0),
    ] {
        let expected = (format!("chainview_{series}"), value);
        assert!(parsed[&format!("chainview_{metric}")].1.contains(&expected), "{series} is not in\n{open}");
    }
}

#[tokio::test]
async fn series_keep_their_order_between_scrapes() {
    let site = site(|_| {}).await;
    for format in [Format::OpenMetrics, Format::Prometheus] {
        let names = || -> Vec<String> {
            let page = render(&site.node, format).unwrap();
            page.lines().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
        };
        let first = names();
        for _ in 0..10 {
            assert_eq!(names(), first);
        }
    }
}

#[tokio::test]
async fn a_client_gets_open_metrics_only_if_it_names_them() {
    let (first, second) = (site(|_| {}).await, site(|_| {}).await);
    for (accept, format) in [
        (None, Format::Prometheus),
        (Some("*/*"), Format::Prometheus),
        (Some("text/plain;version=0.0.4"), Format::Prometheus),
        (Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Format::Prometheus),
        (Some("application/*"), Format::Prometheus),
        (Some("application/openmetrics-text;q=0"), Format::Prometheus),
        (Some("text/plain;version=0.0.4;q=0.6,application/openmetrics-text;q=0.5"), Format::Prometheus),
        (Some("application/openmetrics-text"), Format::OpenMetrics),
        (Some(PROMETHEUS), Format::OpenMetrics),
    ] {
        for relayed in [false, true] {
            let mut lines = vec![bearer()];
            lines.extend(accept.map(|accept| ("accept", accept.to_owned())));
            if relayed {
                lines.push(route(&[second.address]));
            }
            let asked = send(first.address, "GET", "/metrics", &lines).await;
            let headers = asked.reply.headers();
            assert_eq!(headers["content-type"], format.media_type(), "{accept:?} {relayed}");
            assert_eq!(headers["vary"], "Chain-Route, Accept", "{accept:?} {relayed}");
            let page = text(asked).await.1;
            parse(&page, format).unwrap_or_else(|error| panic!("{accept:?} {relayed}: {error}\n{page}"));
        }
    }
    assert!(get(first.address, "/metrics", &[]).await.1.contains("chainview_build_info{version="));
}
