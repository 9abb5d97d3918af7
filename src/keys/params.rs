//! Parameters of a signature: which components it covers, when it was made, with which key.

use super::Fingerprint;
use super::dictionary::end_of_item;
use super::signature_error::SignatureError;

/// Parsed parameters; those that this program does not use are an error, since nothing would check them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Params<'a> {
    pub(super) components: Vec<&'a str>,
    pub(super) created: u64,
    pub(super) expires: Option<u64>,
    pub(super) nonce: u128,
    pub(super) key: Fingerprint,
    pub(super) node_key: Option<Fingerprint>,
    pub(super) tag: &'a str,
}

/// Most components; there are seven.
const MAX_COMPONENTS: usize = 16;
/// The algorithm that every P-256 key has; it may be named.
const ALGORITHM: &str = "ecdsa-p256-sha256";
/// Digits of a number in a structured field (RFC 9651).
const MAX_DIGITS: usize = 15;
/// Hex digits of a nonce.
const NONCE: usize = 32;

impl<'a> Params<'a> {
    /// Parses the value of one member of `Signature-Input`.
    pub(super) fn parse(text: &'a str) -> Result<Self, SignatureError> {
        let wrong = SignatureError::Malformed;
        let (list, params) = text
            .strip_prefix('(')
            .and_then(|rest| rest.split_once(')'))
            .ok_or(wrong("it has no list of components"))?;
        let mut components = Vec::new();
        for item in list.split(' ') {
            components.push(string(item).ok_or(wrong("its components are not a list of names"))?);
            if components.len() > MAX_COMPONENTS {
                return Err(wrong("it has too many components"));
            }
        }
        let (mut created, mut expires, mut nonce, mut key, mut node_key, mut tag, mut algorithm) =
            (None, None, None, None, None, None, None);
        let mut params = params;
        while !params.is_empty() {
            let param = params.strip_prefix(';').ok_or(wrong("a parameter does not follow a semicolon"))?;
            let end = end_of_item(param, b';').ok_or(wrong("a string of its parameters does not end"))?;
            let (name, value) = param[..end].split_once('=').ok_or(wrong("a parameter has no value"))?;
            let repeated = match name {
                "created" => created.replace(number(value).ok_or(wrong("created is not a number"))?).is_some(),
                "expires" => expires.replace(number(value).ok_or(wrong("expires is not a number"))?).is_some(),
                "nonce" => nonce.replace(hex(value).ok_or(wrong("nonce is not 32 hex digits"))?).is_some(),
                "keyid" => key.replace(fingerprint(value).ok_or(wrong("keyid is not a fingerprint"))?).is_some(),
                "node-key" => {
                    node_key.replace(fingerprint(value).ok_or(wrong("node-key is not a fingerprint"))?).is_some()
                }
                "tag" => tag.replace(string(value).ok_or(wrong("tag is not a text"))?).is_some(),
                "alg" if string(value) == Some(ALGORITHM) => algorithm.replace(()).is_some(),
                "alg" => return Err(wrong("alg is not ecdsa-p256-sha256")),
                _ => return Err(wrong("it has an unknown parameter")),
            };
            if repeated {
                return Err(wrong("a parameter is repeated"));
            }
            params = &param[end..];
        }
        Ok(Self {
            components,
            created: created.ok_or(wrong("it has no created"))?,
            expires,
            nonce: nonce.ok_or(wrong("it has no nonce"))?,
            key: key.ok_or(wrong("it has no keyid"))?,
            node_key,
            tag: tag.ok_or(wrong("it has no tag"))?,
        })
    }
}

/// Parses a string without escapes.
fn string(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !matches!(byte, b'"' | b'\\');
    inner.bytes().all(plain).then_some(inner)
}

fn fingerprint(text: &str) -> Option<Fingerprint> {
    string(text)?.parse().ok()
}

/// Parses a number without a sign and leading zeros.
fn number(text: &str) -> Option<u64> {
    let digits = (1..=MAX_DIGITS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading = text.len() > 1 && text.starts_with('0');
    text.parse().ok().filter(|_| digits && !leading)
}

fn hex(text: &str) -> Option<u128> {
    let digits = string(text).filter(|digits| digits.len() == NONCE)?;
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    u128::from_str_radix(digits, 16).ok().filter(|_| digits.bytes().all(lower))
}
