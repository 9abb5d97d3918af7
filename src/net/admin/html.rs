//! HTML pages for browsers: a folder with links, and the ten lines of `GET /`.

use std::fmt::{self, Display, Write};

use crate::route::{DEFAULT_BASE, FileName};
use crate::snapshot::Listing;
use crate::wire::http::encode_name;

/// The media type of these pages.
pub(super) const MEDIA_TYPE: &str = "text/html; charset=utf-8";
/// Content policy of these pages: nothing may be loaded or run, and no frame may contain them. Names in them come from
/// anyone who may write into the folder.
pub(super) const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Links of `GET /`: a path and its description.
const LINKS: [(&str, &str); 4] = [
    (DEFAULT_BASE, "the files it serves"),
    ("/v1/node", "its identity and activity, as JSON"),
    ("/metrics", "its counters, for Prometheus"),
    ("/healthz", "whether it accepts new requests"),
];
const ABOUT: &str = "This is a chainview node.";
const WHAT: &str = "It serves files below /files/, or relays them from the hops that a Chain-Route header names.";
const HOW: &str = "  curl -H 'Chain-Route: HOP:PORT, ORIGIN:PORT' http://NODE:PORT/files/NAME";

/// Text escaped for HTML, also inside attributes.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for each in self.0.chars() {
            match each {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => f.write_char(each)?,
            }
        }
        Ok(())
    }
}

/// Renders a folder in the usual form of index pages: one plain relative link per line, with a slash after folders.
pub(super) fn folder(folder: Option<&FileName>, listing: &Listing) -> Result<String, fmt::Error> {
    let mut page = String::new();
    let shown = folder.map(FileName::shown).unwrap_or_default();
    let slash = if folder.is_some() { "/" } else { "" };
    let title = format!("{DEFAULT_BASE}{}{slash}", Escaped(shown.as_str()));
    begin(&mut page, &title)?;
    if folder.is_some() {
        page.push_str("<a href=\"../\">../</a>\n");
    }
    for entry in &listing.entries {
        let path = encode_name(&entry.path).to_string();
        let link = path.rsplit('/').next().unwrap_or_default();
        let name = Escaped(entry.name.as_str());
        if entry.is_folder {
            writeln!(page, "<a href=\"{link}/\">{name}/</a>")?;
        } else {
            writeln!(page, "<a href=\"{link}\">{name}</a>  {}", entry.size)?;
        }
    }
    match &listing.next {
        Some(next) => {
            writeln!(page, "<a rel=\"next\" href=\"?next={}\">{} more</a>", encode_name(next), listing.omitted)?;
        }
        None if listing.omitted > 0 => writeln!(page, "{} more are not listed", listing.omitted)?,
        None => {}
    }
    page.push_str("</pre>\n</body>\n</html>\n");
    Ok(page)
}

/// Renders the page at `/` for browsers.
pub(super) fn about() -> Result<String, fmt::Error> {
    let mut page = String::new();
    begin(&mut page, "chainview")?;
    writeln!(page, "{ABOUT}\n{WHAT}\n\n{HOW}\n")?;
    for (path, what) in LINKS {
        writeln!(page, "<a href=\"{path}\">{path}</a>  {what}")?;
    }
    page.push_str("</pre>\n</body>\n</html>\n");
    Ok(page)
}

/// Renders the text at `/` for other clients.
pub(super) fn about_as_text() -> String {
    let links: Vec<String> = LINKS.iter().map(|(path, what)| format!("{path:<10} {what}\n")).collect();
    format!("{ABOUT}\n{WHAT}\n\n{HOW}\n\n{}", links.concat())
}

/// Writes everything up to the first line of the text; `title` is escaped already.
fn begin(page: &mut String, title: &str) -> fmt::Result {
    let head = "<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">";
    writeln!(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n{head}\n<title>{title}</title>\n</head>")?;
    writeln!(page, "<body>\n<h1>{title}</h1>\n<pre>")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::ListingEntry;
    use crate::text::SafeText;
    use crate::wire::http::decode_name;

    fn entry(folder: &str, name: &[u8], is_folder: bool) -> ListingEntry {
        let path = FileName::new(&[folder.as_bytes(), name].concat()).unwrap();
        ListingEntry::new(SafeText::from_bytes(name), path, 7, is_folder)
    }

    #[test]
    fn hostile_names_are_links_to_themselves_and_nothing_else() {
        let names: [&[u8]; 12] = [
            b"<script>alert(1)<script>",
            b"\"><img src=x onerror=alert(1)>",
            b"' onmouseover='alert(1)",
            b"javascript:alert(1)",
            b"&lt;b&gt;",
            b"a b?c#d%41",
            b"\xff\xfe.bin",
            b"http:\\\\evil.example",
            b"<!--<pre><body>",
            "\u{202e}gpj.exe".as_bytes(),
            b"a\tb",
            "gr\u{fc}n".as_bytes(),
        ];
        let entries = names.iter().map(|name| entry("d <x>/", name, false)).collect();
        let listing = Listing { entries, omitted: 3, ..Listing::default() };
        let of = FileName::new(b"d <x>").unwrap();
        let page = folder(Some(&of), &listing).unwrap();
        // The tags are those of the page and no others.
        let tags: Vec<&str> = page.split('<').skip(1).map(|tag| tag.split(['>', ' ']).next().unwrap()).collect();
        let mut allowed = ["!DOCTYPE", "html", "head", "meta", "title", "body", "h1", "pre", "a"].to_vec();
        allowed.extend(["/html", "/head", "/title", "/body", "/h1", "/pre", "/a"]);
        assert!(tags.iter().all(|tag| allowed.contains(tag)), "{tags:?}");
        assert_eq!(tags.iter().filter(|tag| **tag == "a").count(), names.len() + 1);
        assert_eq!(tags.iter().filter(|tag| **tag == "/pre").count(), 1);
        let links: Vec<&str> = page.split("<a href=\"").skip(2).map(|link| link.split("\">").next().unwrap()).collect();
        for (link, name) in links.iter().zip(names) {
            assert!(link.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{link}");
            assert_eq!(decode_name(link).unwrap().as_bytes(), name);
        }
        assert!(page.contains("<title>/files/d &lt;x&gt;/</title>") && page.contains("3 more"), "{page}");
        let listing = Listing { omitted: 3, next: FileName::new(b"a\"?b").ok(), ..Listing::default() };
        let page = folder(None, &listing).unwrap();
        assert!(page.contains("<a rel=\"next\" href=\"?next=a%22%3Fb\">3 more</a>"), "{page}");
    }

    #[test]
    fn a_folder_leads_down_with_a_slash_and_up_unless_it_is_the_root() {
        let entries = vec![entry("", b"sub", true), entry("", b"x.txt", false)];
        let listing = Listing { entries, ..Listing::default() };
        let page = folder(None, &listing).unwrap();
        assert!(page.contains("\n<a href=\"sub/\">sub/</a>\n<a href=\"x.txt\">x.txt</a>  7\n</pre>"), "{page}");
        assert!(!page.contains("../") && page.contains("<h1>/files/</h1>"), "{page}");
        let below = folder(Some(&FileName::new(b"sub").unwrap()), &Listing::default()).unwrap();
        assert!(below.contains("<a href=\"../\">../</a>") && below.contains("<h1>/files/sub/</h1>"), "{below}");
    }

    #[test]
    fn the_first_page_links_every_place_in_ten_lines() {
        let (html, text) = (about().unwrap(), about_as_text());
        assert!(text.lines().count() <= 10 && text.is_ascii(), "{text}");
        for (path, _) in LINKS {
            assert!(html.contains(&format!("<a href=\"{path}\">")) && text.contains(&format!("\n{path} ")), "{path}");
        }
    }
}
