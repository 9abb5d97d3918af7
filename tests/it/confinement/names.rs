//! Names: unusual ones that are served, and hostile ones that must not escape.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Files of the served folder with unusual but valid names.
pub(crate) fn served() -> Vec<Vec<u8>> {
    let text = [
        "legit",
        "dir/sub/file",
        "dir/legit",
        "with space",
        " leading",
        "trailing ",
        "dot.",
        "dots..",
        "a..b",
        "-rf",
        "~",
        "~root",
        "$HOME",
        "back\\slash",
        "..\\secret",
        "%2e%2e",
        "%2e%2e%2fsecret",
        "..%2fsecret",
        "100%",
        "tab\there",
        "escape\u{1b}[2J",
        "quote\"'`",
        "semi;colon",
        "query?x=1",
        "hash#1",
        "colon:1",
        "NUL",
        "файл",
        "文件.txt",
        "right\u{202e}left",
        "zero\u{200b}width",
        "del\u{7f}",
        "c1\u{9b}2J",
    ];
    let mut names: Vec<Vec<u8>> = text.into_iter().map(|name| name.as_bytes().to_vec()).collect();
    // Two that begin like a parent folder would be hidden files.
    names.retain(|name| !name.starts_with(b"."));
    names.extend([b"caf\xe9".to_vec(), b"\xff\xfe".to_vec(), b"\xc0\xae\xc0\xae".to_vec()]);
    // The longest possible component.
    names.push(vec![b'x'; 255]);
    names
}

/// Names that must not lead out, must not be found, must not make an open block. `outside` is a folder beside the
/// served one.
#[expect(clippy::too_many_lines, reason = "one list")]
pub(crate) fn hostile(outside: &Path) -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut add = |name: &[u8]| names.push(name.to_vec());
    let targets = ["secret", "outside/secret", "etc/passwd"];
    // Up by any number of steps, in every known spelling of `..`.
    let steps: &[&[u8]] = &[
        b"../",
        b"..//",
        b"./../",
        b".././",
        b"x/../../",
        b"dir/../../",
        b"dir/sub/../../../",
        b"....//",
        b".../",
        b"..;/",
        b"..\\",
        b"..\\/",
        b"%2e%2e/",
        b"%2e%2e%2f",
        b"%2E%2E%2F",
        b"..%2f",
        b"..%5c",
        b".%2e/",
        b"%252e%252e%252f",
        b"..%252f",
        b"%25252e%25252e%25252f",
        b"%c0%ae%c0%ae/",
        b"..%c0%af",
        b"\xc0\xae\xc0\xae\xc0\xaf",
        b"%e0%80%ae%e0%80%ae/",
        b"%uff0e%uff0e/",
        b"%u002e%u002e%u2215",
        "\u{ff0e}\u{ff0e}/".as_bytes(),
        "\u{2024}\u{2024}/".as_bytes(),
        b"..%00/",
        b"..\0/",
        b"..%0a/",
        b"..\r/",
        b".. /",
        b"..%20/",
        b"..%09/",
    ];
    for step in steps {
        for target in targets {
            for depth in [1, 2, 5] {
                add(&[step.repeat(depth).as_slice(), target.as_bytes()].concat());
            }
        }
    }
    // Absolute, in every spelling.
    let secret = outside.join("secret");
    let absolute = secret.as_os_str().as_bytes();
    for prefix in [&b""[..], b"/", b"//", b"./", b"%2f", b"file://", b"file:", b"\\\\?\\", b"C:", b"~/..", b"dir/"] {
        add(&[prefix, absolute].concat());
        add(&[prefix, b"/etc/passwd"].concat());
        add(&[prefix, b"/proc/self/environ"].concat());
    }
    for place in ["/dev/zero", "/dev/stdin", "/dev/tty", "/proc/self/mem", "/proc/self/fd/0", "/proc/kmsg", "/"] {
        add(place.as_bytes());
    }
    // Links: out, in cycles, too long a chain, through the kernel's magic links.
    let links = [
        "out_file",
        "out_dir",
        "out_dir/secret",
        "out_dir/legit",
        "dir/out_up",
        "out_winding",
        "up",
        "up_2",
        "dir/up_3",
        "top",
        "absolute",
        "absolute_inside",
        "magic_root",
        "magic_cwd",
        "magic_fd",
        "magic_environ",
        "to_zero",
        "to_stdin",
        "to_tty",
        "loop_1",
        "loop_2",
        "loop_self",
        "dangling",
        "chain_in_44",
        "chain_out_0",
        "chain_out_1",
        "chain_out_30",
        "chain_out_38",
        "chain_out_39",
        "chain_out_44",
        "self",
    ];
    for link in links {
        add(link.as_bytes());
        add(format!("self/{link}").as_bytes());
        add(format!("in_dir/../{link}").as_bytes());
        // As a folder that is listed.
        add(format!("{link}/").as_bytes());
    }
    for way in ["up", "up_2", "dir/up_3", "top", "self/up", "self/self/self/up", "magic_cwd/..", "magic_fd/../cwd/.."] {
        for target in ["secret", "outside/secret", "../secret", "etc/passwd", "served/legit", "../../etc/passwd"] {
            add(format!("{way}/{target}").as_bytes());
        }
    }
    for descriptor in 0..12 {
        add(format!("magic_fd/{descriptor}").as_bytes());
    }
    // Existing entries that are not files to serve.
    for name in [
        "dir",
        "dir/",
        "dir/sub",
        "dir/sub/",
        "fifo",
        "dir/fifo",
        "to_fifo",
        "fifo/",
        "zero",
        "socket",
        "socket/",
        ".hidden",
        "dir/.hidden",
        ".git",
        ".git/config",
        "..hidden",
        "...",
        "in_dir/.hidden",
        "self/.hidden",
        ".",
        "..",
        "./",
        "../",
        "./legit",
        "dir/./sub/file",
        "dir/../legit",
        "legit/",
        "legit/.",
        "legit/..",
        "legit/../legit",
        "legit//",
        "legit/x",
        "LEGIT",
        "legit ",
        " legit",
        "legit.",
        "legit. ",
        "legit::$DATA",
        "legit;1",
        "legit~",
        "~",
        "~/secret",
        "~root/.bashrc",
        "$HOME/x",
        "$(id)",
        "`id`",
        "|id",
        "*",
        "?",
        "[a-z]*",
        "{legit,secret}",
        "CON",
    ] {
        add(name.as_bytes());
    }
    // Too long, empty, not text, and bytes that end a line or a name in some context.
    add(&[b'x'; 256]);
    add(&[&[b'x'; 255][..], b"/", &[b'x'; 255]].concat());
    add(&[b'y'; 1024]);
    add(&[b'z'; 1025]);
    add(&b"d/".repeat(511));
    add(&b"../".repeat(341));
    add(b"");
    for name in [
        &b"legit\0"[..],
        b"\0legit",
        b"legit\0.txt",
        b"legit\r",
        b"legit\n",
        b"legit\r\nX: y",
        b"legit\n127.0.0.1 1",
        b"legit HTTP/1.1\r\nX: y",
        b"legit%00",
        b"legit%0a",
        b"legit%0d%0aX:%20y",
        b"legit%",
        b"legit%2",
        b"legit%zz",
        b"legit?x",
        b"legit#x",
        b"legit\t",
        b"\xff",
        b"\x80\x81",
        b"legit\xff",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\x1b[2J",
        b"\x9b2J",
        b"\x7f",
        "\u{202e}tigel".as_bytes(),
        "legit\u{200b}".as_bytes(),
        "\u{feff}legit".as_bytes(),
    ] {
        add(name);
    }
    names
}
