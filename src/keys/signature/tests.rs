//! Signatures that hold, and every way in which one does not.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_800_000_000;

static PAIR: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::parse(&KeyPair::generate().unwrap()).unwrap());
static OTHER: LazyLock<KeyPair> = LazyLock::new(|| KeyPair::parse(&KeyPair::generate().unwrap()).unwrap());

fn covered() -> Covered<'static> {
    Covered {
        method: "GET".into(),
        target: "/files/a%20b?after=c".into(),
        authority: "Node.Example:9101".into(),
        transfer: "00112233445566778899aabbccddeeff".into(),
        route: Some("10.0.0.3:9102, 10.0.0.4:9103".into()),
        authorization: Some("Bearer s3cret".into()),
        content_digest: None,
        node_key: None,
    }
}

fn signed(covered: &Covered<'_>) -> Signatures {
    let mut signatures = Signatures::new(&PAIR);
    signatures.sign(&PAIR, 2, covered, NOW, 7).unwrap();
    signatures
}

fn check(signatures: &Signatures, covered: &Covered<'_>, now: u64) -> Result<SignedId, SignatureError> {
    let claim = signatures.claim(2, covered, now)?;
    claim.verify(covered)?;
    Ok(claim.id)
}

#[test]
fn the_base_has_the_form_of_the_standard() {
    let key = PAIR.public().fingerprint();
    let params = covered().params(SignedId { created: NOW, nonce: 7, key });
    let components = r#""@method" "@request-target" "@authority" "chain-transfer" "chain-route" "authorization""#;
    let nonce = "00000000000000000000000000000007";
    let expected =
        format!(r#"({components});created={NOW};expires={};nonce="{nonce}";keyid="{key}";tag="chainview""#, NOW + 120);
    assert_eq!(params, expected);
    let base = format!(
        "\"@method\": GET\n\"@request-target\": /files/a%20b?after=c\n\"@authority\": node.example:9101\n\
         \"chain-transfer\": 00112233445566778899aabbccddeeff\n\"chain-route\": 10.0.0.3:9102, 10.0.0.4:9103\n\
         \"authorization\": Bearer s3cret\n\"@signature-params\": {params}"
    );
    assert_eq!(covered().base(&params), base);
    let default_port = Covered { authority: "h:80".into(), ..covered() };
    assert!(default_port.base("").contains("\"@authority\": h\n"));
}

#[test]
fn a_signature_holds_for_its_request_alone() {
    let id = SignedId { created: NOW, nonce: 7, key: PAIR.public().fingerprint() };
    assert_eq!(check(&signed(&covered()), &covered(), NOW), Ok(id));
    let changed = [
        Covered { method: "HEAD".into(), ..covered() },
        Covered { target: "/files/a%20c?after=c".into(), ..covered() },
        Covered { authority: "node.example:9102".into(), ..covered() },
        Covered { transfer: "00112233445566778899aabbccddeefe".into(), ..covered() },
        Covered { route: Some("10.0.0.4:9103".into()), ..covered() },
        Covered { route: Some("10.0.0.9:1, 10.0.0.3:9102, 10.0.0.4:9103".into()), ..covered() },
        Covered { authorization: Some("Bearer other".into()), ..covered() },
    ];
    for other in changed {
        assert_eq!(check(&signed(&covered()), &other, NOW), Err(SignatureError::Wrong), "{other:?}");
    }
    // A part that was removed or added shows before the signature is verified.
    for (other, missing) in [
        (Covered { route: None, ..covered() }, "it has other components"),
        (Covered { authorization: None, ..covered() }, "it has other components"),
        (Covered { content_digest: Some("x".into()), ..covered() }, "content-digest"),
    ] {
        let error = check(&signed(&covered()), &other, NOW).unwrap_err();
        assert!(matches!(error, SignatureError::Components(_)), "{missing}: {error}");
    }
    let origin = Covered { route: None, ..covered() };
    assert_eq!(check(&signed(&origin), &covered(), NOW), Err(SignatureError::Components("chain-route")));
}

#[test]
fn the_time_of_a_signature_is_limited_in_both_directions() {
    let at = |now| check(&signed(&covered()), &covered(), now).map(drop);
    for now in [NOW - 120, NOW, NOW + 120] {
        assert_eq!(at(now), Ok(()), "{now}");
    }
    assert_eq!(at(NOW + 121), Err(SignatureError::Expired(121)));
    assert_eq!(at(NOW - 121), Err(SignatureError::Future(121)));
    let skewed = at(NOW - 600).unwrap_err().to_string();
    assert!(skewed.contains("10 min 0 s ahead") && skewed.contains("clocks"), "{skewed}");
    assert!(at(NOW + 600).unwrap_err().to_string().contains("10 min 0 s ago"));
}

#[test]
fn a_signature_for_the_key_of_a_node_holds_at_that_node_alone() {
    let node = |key: &KeyPair| Covered { node_key: Some(key.public().fingerprint()), ..covered() };
    let (own, other) = (node(&OTHER), node(&PAIR));
    let signatures = signed(&own);
    assert!(signatures.input.ends_with(&format!(";tag=\"chainview\";node-key=\"{}\"", OTHER.public().fingerprint())));
    assert!(check(&signatures, &own, NOW).is_ok());
    for wrong in [&other, &covered()] {
        let named = OTHER.public().fingerprint();
        let expected = SignatureError::OtherNode { named, own: wrong.node_key };
        assert_eq!(check(&signatures, wrong, NOW), Err(expected));
    }
    // Without the parameter it is for whichever node has the address; a relay cannot take it out.
    assert!(check(&signed(&covered()), &own, NOW).is_ok());
    let start = signatures.input.find(";node-key").unwrap();
    let stripped = Signatures { input: signatures.input[..start].to_owned(), ..signatures };
    assert_eq!(check(&stripped, &own, NOW), Err(SignatureError::Wrong));
}

#[test]
fn the_key_is_the_one_that_is_named() {
    let signatures = signed(&covered());
    let other_key = Signatures { key: Signatures::new(&OTHER).key, ..signatures.clone() };
    assert_eq!(check(&other_key, &covered(), NOW), Err(SignatureError::Key));
    let no_key = Signatures { key: "AAAA".to_owned(), ..signatures.clone() };
    assert_eq!(check(&no_key, &covered(), NOW), Err(SignatureError::Malformed("Chain-Key")));
    // A signature by another key under this key's name.
    let (name, other) = (PAIR.public().fingerprint(), OTHER.public().fingerprint());
    let mut forged = Signatures::new(&OTHER);
    forged.sign(&OTHER, 2, &covered(), NOW, 7).unwrap();
    let forged = Signatures { input: forged.input.replace(&other.to_string(), &name.to_string()), ..forged };
    assert_eq!(check(&forged, &covered(), NOW), Err(SignatureError::Key));
    let forged = Signatures { key: signatures.key.clone(), ..forged };
    assert_eq!(check(&forged, &covered(), NOW), Err(SignatureError::Wrong));
}

#[test]
fn other_forms_are_rejected() {
    let signatures = signed(&covered());
    let input = |from: &str, to: &str| {
        assert!(signatures.input.contains(from), "{from}");
        check(&Signatures { input: signatures.input.replace(from, to), ..signatures.clone() }, &covered(), NOW)
    };
    for (from, to) in [
        ("h2=", "h3="),
        ("\"@method\" ", ""),
        (" \"chain-route\"", ""),
        ("\"@method\" \"@request-target\"", "\"@request-target\" \"@method\""),
        ("\"authorization\"", "\"authorization\" \"via\""),
        ("\" \"", "\"  \""),
        ("tag=\"chainview\"", "tag=\"other\""),
        (";tag=\"chainview\"", ""),
        (";nonce", ";once"),
        (";created=1800000000", ""),
        ("created=1800000000", "created=01800000000"),
        ("created=1800000000", "created=-1"),
        ("created=1800000000", "created=1800000000.5"),
        ("created=1800000000", "created=\"1800000000\""),
        ("expires=1800000120", "expires=1799999999"),
        (";tag", ";alg=\"rsa-pss-sha512\";tag"),
        (";tag", ";created=1800000000;tag"),
        (";tag", ";tag=\"chainview\";tag"),
        (";tag", "; tag"),
        (";tag", ";node-key=\"sha256:AA\";tag"),
        (";tag", ";node-key=1;tag"),
        ("sha256:", "sha256;"),
        ("h2=(", "h2=("),
    ] {
        let checked = input(from, to);
        assert_eq!(checked.is_ok(), from == to, "{from} {to} {checked:?}");
    }
    // A change of the parameters that is well formed.
    assert_eq!(input("expires=1800000120", "expires=1800000121"), Err(SignatureError::Wrong));
    assert_eq!(input(";tag", ";alg=\"ecdsa-p256-sha256\";tag"), Err(SignatureError::Wrong));
    for signature in ["", "h2=", "h2=::", "h2=:AA==:", "h2=AA==", "h1=:AA==:", "h2=:AA==:, h2=:AA==:"] {
        let other = Signatures { signature: signature.to_owned(), ..signatures.clone() };
        assert!(check(&other, &covered(), NOW).is_err(), "{signature}");
    }
}

#[test]
fn signatures_of_other_programs_hold() {
    // By openssl, over a text that was written by hand, and by the crate httpsig 0.0.26, which wrote the fields, too.
    let key = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAELcsV7BNO67tWbBz80/j1bf0mhB27GjK2k1o19bRAlrmajIezVp9juvtCy8TAJmL0+j/qaJgT\
               EUR5f+Eh2TYJMw==";
    let input = "h0=(\"@method\" \"@request-target\" \"@authority\" \"chain-transfer\");created=1800000000;\
                 expires=1800000120;nonce=\"0000000000000000000000000000000#\";\
                 keyid=\"sha256:xghOvMfq1muC/F2cIjr0EZzAT2GmuAnYYt/W0dq2sNI=\";tag=\"chainview\"";
    let covered = Covered {
        target: "/files/f".into(),
        authority: "H:1".into(),
        transfer: "00000000000000000000000000000001".into(),
        route: None,
        authorization: None,
        ..covered()
    };
    for (nonce, signature) in [
        ("1", "h0=:ArSfojJLpu2HsR87I1SS/9nn8Bkxdquap1L0Hs+sOFrmoaEKAOMsQh5/9j5GZkKnEb38/GsL5oUayzg8yVeqRw==:"),
        ("2", "h0=:S6jOoJq4R1P5qV7blW3ndf6TgP2u1C4EN7LbBn0R2ptk5DTtxKwHoL9LjBK6KjYjG+S8jyFMho70OQZozDAVqQ==:"),
    ] {
        let input = input.replace('#', nonce);
        let signatures = Signatures { input, signature: signature.to_owned(), key: key.to_owned() };
        assert_eq!(signatures.claim(0, &covered, NOW).unwrap().verify(&covered), Ok(()), "{nonce}");
    }
}

#[test]
fn each_hop_removes_its_own_signature() {
    let mut signatures = signed(&covered());
    let last = Covered { route: None, ..covered() };
    signatures.sign(&PAIR, 0, &last, NOW, 7).unwrap();
    let next = signatures.for_next(2).unwrap();
    assert_eq!(next.claim(2, &covered(), NOW), Err(SignatureError::Missing));
    next.claim(0, &last, NOW).unwrap().verify(&last).unwrap();
    assert_eq!(next.for_next(1), Some(next.clone()), "a hop without a signature removes none");
    assert_eq!(next.for_next(0), None);
    let broken = Signatures { input: "x".to_owned(), ..next };
    assert_eq!(broken.for_next(1), None, "malformed fields are not passed on");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn signatures_round_trip(
        method in "GET|HEAD|POST",
        target in "/[!-~]{0,80}",
        authority in "[a-zA-Z0-9.:\\[\\]-]{1,60}",
        transfer in "[0-9a-f]{32}",
        route in proptest::option::of("[ -~]{1,80}"),
        authorization in proptest::option::of("[ -~]{1,40}"),
        content_digest in proptest::option::of("[ -~]{1,40}"),
        (nonce, created, late) in (any::<u128>(), 0..=9_999_999_999_u64, 0..=MAX_AGE),
        hops_after in 0_usize..32,
    ) {
        let covered = Covered {
            method: method.into(),
            target: target.into(),
            authority: authority.into(),
            transfer: transfer.into(),
            route: route.map(Into::into),
            authorization: authorization.map(Into::into),
            content_digest: content_digest.map(Into::into),
            node_key: None,
        };
        let mut signatures = Signatures::new(&PAIR);
        signatures.sign(&PAIR, hops_after, &covered, created, nonce).unwrap();
        let claim = signatures.claim(hops_after, &covered, created + late).unwrap();
        prop_assert_eq!(claim.verify(&covered), Ok(()));
        prop_assert_eq!((claim.id.created, claim.id.nonce), (created, nonce));
        prop_assert_eq!(signatures.claim(hops_after + 1, &covered, created), Err(SignatureError::Missing));
    }

    #[test]
    fn a_changed_byte_of_a_field_is_noticed(at in any::<prop::sample::Index>(), bit in 0..7, field in 0..2) {
        let signatures = signed(&covered());
        let mut changed = signatures.clone();
        let text = if field == 0 { &mut changed.input } else { &mut changed.signature };
        let mut bytes = std::mem::take(text).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        *text = String::from_utf8(bytes).unwrap();
        prop_assert!(check(&changed, &covered(), NOW).is_err(), "{:?}", changed);
    }
}
