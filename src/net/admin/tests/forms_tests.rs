//! Folders and the first page: as JSON or text for programs, as HTML for browsers, here and through a chain.

use std::fs;

use super::{bearer, get, route, send, site, text};
use crate::net::admin::html::POLICY;
use crate::net::node::root::Root;
use crate::snapshot::Listing;

/// The `Accept` of Firefox; other browsers differ in the remaining types.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

fn accept(value: &str) -> (&'static str, String) {
    ("accept", value.to_owned())
}

#[tokio::test]
async fn a_folder_is_html_for_browsers_and_json_for_others() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("sub/<b>")).unwrap();
    fs::write(folder.path().join("sub/a \"&\" b?.txt"), "12345").unwrap();
    let root = folder.path().to_owned();
    let (first, second) = (site(|_| {}).await, site(|config| config.root = Root::open(&root).unwrap()).await);
    for (accepted, html) in [
        (None, false),
        (Some("*/*"), false),
        (Some("application/json"), false),
        (Some("application/json, text/html;q=0.9"), false),
        (Some("text/html"), true),
        (Some(BROWSER), true),
        (Some("application/json;q=0.5, text/*"), true),
    ] {
        for relayed in [false, true] {
            let mut lines: Vec<_> = accepted.map(accept).into_iter().chain([bearer()]).collect();
            if relayed {
                lines.push(route(&[second.address]));
            }
            let to = if relayed { first.address } else { second.address };
            let asked = send(to, "GET", "/files/sub/", &lines).await;
            let headers = asked.reply.headers();
            let kind = if html { "text/html; charset=utf-8" } else { "application/json" };
            assert_eq!(headers["content-type"], kind, "{accepted:?} {relayed}");
            assert_eq!(headers.get_all("vary").iter().collect::<Vec<_>>(), ["Chain-Route, Accept"], "{relayed}");
            assert_eq!(headers["x-content-type-options"], "nosniff", "{relayed}");
            assert_eq!(headers["content-security-policy"], POLICY, "{relayed}");
            let (status, body) = text(asked).await;
            assert_eq!(status, 200);
            if html {
                assert!(body.contains("\n<a href=\"%3Cb%3E/\">&lt;b&gt;/</a>\n"), "{body}");
                let file = "<a href=\"a%20%22%26%22%20b%3F.txt\">a &quot;&amp;&quot; b?.txt</a>  5\n";
                assert!(body.contains(file), "{body}");
            } else {
                let listing: Listing = serde_json::from_str(&body).unwrap();
                assert_eq!(listing.entries.len(), 2, "{body}");
            }
        }
    }
}

#[tokio::test]
async fn empty_and_dot_segments_are_ignored_in_folder_paths() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::write(folder.path().join("a/b/f"), "").unwrap();
    let root = folder.path().to_owned();
    let (first, second) = (site(|_| {}).await, site(|config| config.root = Root::open(&root).unwrap()).await);
    let way = route(&[second.address]);
    let listed = async |path: &str, expected: &str| {
        for (to, lines) in [(second.address, vec![bearer()]), (first.address, vec![bearer(), way.clone()])] {
            let (status, body) = get(to, path, &lines).await;
            assert_eq!(status, 200, "{path}: {body}");
            let listing: Listing = serde_json::from_str(&body).unwrap();
            assert_eq!(listing.entries[0].path.as_bytes(), expected.as_bytes(), "{path}");
        }
    };
    for path in ["/files/", "/files//", "/files/./", "/files/.//./"] {
        listed(path, "a").await;
    }
    for path in ["/files/a/b/", "/files/a/b//", "/files//a/./b/./", "/files/%2e/a//b/"] {
        listed(path, "a/b/f").await;
    }
    for path in ["/files/../", "/files/a/../", "/files/a/..//", "/files/a/.b/"] {
        assert_eq!(get(second.address, path, &[bearer()]).await.0, 404, "{path}");
    }
}

#[tokio::test]
async fn the_first_page_is_public() {
    let site = site(|_| {}).await;
    for (accepted, kind) in [
        ("*/*", "text/plain; charset=utf-8"),
        ("text/plain", "text/plain; charset=utf-8"),
        (BROWSER, "text/html; charset=utf-8"),
    ] {
        // Without a token, also through a proxy: it reveals nothing about this node.
        let asked = send(site.address, "GET", "/", &[accept(accepted), ("via", "1.1 x".to_owned())]).await;
        let headers = asked.reply.headers();
        assert_eq!(
            (&headers["content-type"], &headers["vary"]),
            (&kind.parse().unwrap(), &"Chain-Route, Accept".parse().unwrap())
        );
        assert_eq!(headers["content-security-policy"], POLICY);
        let (status, body) = text(asked).await;
        assert_eq!(status, 200);
        for place in ["/files/", "/v1/node", "/metrics", "/healthz"] {
            assert!(body.contains(place), "{place} is not in\n{body}");
        }
    }
    assert_eq!(get(site.address, "/", &[("host", "evil.example".to_owned())]).await.0, 403);
}
