//! Password files: what other programs wrote, what we write, and what is refused.

use fulmar_auth::FileError;
use fulmar_auth::passwords::{Argon2idParams, Hash, PasswordFile, PasswordLimits, Scratch, hash_password};
use proptest::prelude::*;

/// Written by `mosquitto_passwd` 2.0.11 with `-H sha512`, the password is `grüße $:`.
const SHA512: &str =
    "$6$izpAaWCQolwqbd+f$MLlARR6g2eTIvtX9FCvw2ZXTfORORQK/Yvo36mJUDDjS2ChaAbPUmI8UfWaAOep8e4w4eR7Vz3YYG/nzkBjhxA==";
/// Written by `mosquitto_passwd` 2.0.11, the password is `correct horse`.
const PBKDF2: &str =
    "$7$101$bolTlOwkAuOQNIzr$B1f8IZq9d4bKyYS5TGSNlnBJWGjtWx6m89rnXRO9ZXymKLHgxW8tJXN96+p7l5MoQtbhrxch4XBfg6/rcg2LwQ==";
/// Written by `mosquitto_passwd` 2.0.11, the password is empty.
const PBKDF2_OF_NOTHING: &str =
    "$7$101$LzIS32CBlyKZnLPl$qiaiq+5iT2GVZ09fnyGeikjRXZ7CeRaVuRZJUxckE9j/UrOzVBcdlP5QQijfLtxfx329JWUy8JucaZ/ublnj/w==";
/// From the tests of the reference implementation of argon2; the password is `password`.
const ARGON2ID: &str = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
/// The same with two lanes.
const ARGON2ID_OF_TWO_LANES: &str =
    "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc";

const QUICK: Argon2idParams = Argon2idParams { memory_kib: 8, passes: 1, lanes: 1 };

fn parse(text: &str) -> Result<PasswordFile, Vec<FileError>> {
    PasswordFile::parse(text, PasswordLimits::default())
}

fn errors(text: &str) -> Vec<String> {
    parse(text).expect_err("the file is refused").iter().map(FileError::to_string).collect()
}

#[test]
fn passwords_hashed_by_others_are_verified() {
    // One for all: what the hash before has left in it does not matter.
    let mut scratch = Scratch::default();
    for (hash, password) in [
        (SHA512, "grüße $:"),
        (PBKDF2, "correct horse"),
        (PBKDF2_OF_NOTHING, ""),
        (ARGON2ID, "password"),
        (ARGON2ID_OF_TWO_LANES, "password"),
    ] {
        let hash = Hash::parse(hash).unwrap();
        assert!(hash.verify(password.as_bytes(), &mut scratch), "{password}");
        // Not with U+0000 at the end: to HMAC, and so to PBKDF2, it is the same key (RFC 2104, 3).
        for wrong in [format!("{password} "), format!("x{password}"), password.to_uppercase() + "x", "wrong".to_owned()]
        {
            assert!(!hash.verify(wrong.as_bytes(), &mut scratch), "{wrong:?} instead of {password:?}");
        }
    }
}

#[test]
fn users_are_found_between_comments_and_empty_lines() {
    let text =
        format!("\u{feff}# users\r\n\r\nalice:{PBKDF2}\r\n  \n#bob:{SHA512}\ncarol.o'neill@example.com:{SHA512}  \n");
    let file = parse(&text).unwrap();
    assert_eq!(file.users(), 2);
    assert!(file.verify("alice", b"correct horse", &mut Scratch::default()));
    assert!(!file.verify("alice", "grüße $:".as_bytes(), &mut Scratch::default()));
    assert!(file.verify("carol.o'neill@example.com", "grüße $:".as_bytes(), &mut Scratch::default()));
    assert_eq!(file.find("alice"), Some(&Hash::parse(PBKDF2).unwrap()));
    assert_eq!(file.find("bob"), None);
    assert_eq!(file.find("Alice"), None);
    assert!(!file.verify("bob", "grüße $:".as_bytes(), &mut Scratch::default()));
}

#[test]
fn every_line_that_is_wrong_is_named_at_once() {
    let text = format!(
        "alice:{PBKDF2}\nalice:{SHA512}\nhunter2\n:{SHA512}\nbob :{SHA512}\nca\trol:{SHA512}\ndave:hunter2\n\
         erin:$2b$12$hunter2\nfrank:\n"
    );
    assert_eq!(
        errors(&text),
        [
            "line 2: found the user of line 1 again, wanted each user once",
            "line 3: found no colon, wanted NAME:HASH",
            "line 4: found no name before the colon, wanted NAME:HASH",
            "line 5: found white space or a control character around or in the name, wanted the name alone",
            "line 6: found white space or a control character around or in the name, wanted the name alone",
            "line 7: found a text that is no hash we know, wanted a hash that begins with $argon2id$, $7$ or $6$",
            "line 8: found bcrypt, wanted a hash that begins with $argon2id$, $7$ or $6$",
            "line 9: found a text that is no hash we know, wanted a hash that begins with $argon2id$, $7$ or $6$",
        ]
    );
}

#[test]
fn parameters_that_would_hold_a_thread_for_long_are_refused() {
    let argon2id =
        |params: &str| format!("u:$argon2id$v=19${params}$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4");
    for (line, error) in [
        (argon2id("m=65537,t=1,p=1"), "found argon2id with m=65537, wanted m of 8 to 65536"),
        (argon2id("m=7,t=1,p=1"), "found argon2id with m=7, wanted m of 8 to 65536"),
        (argon2id("m=64,t=1,p=9"), "found argon2id with p=9, wanted p of 1 to 8"),
        (argon2id("m=8,t=1,p=0"), "found argon2id with p=0, wanted p of 1 to 8"),
        (argon2id("m=31,t=1,p=4"), "found argon2id with m=31 and p=4, wanted m of at least 8 times p"),
        (
            argon2id("m=65536,t=5,p=1"),
            "found argon2id with m=65536 and t=5, wanted t of at least 1, and m times t of at most 262144",
        ),
        (
            argon2id("m=64,t=0,p=1"),
            "found argon2id with m=64 and t=0, wanted t of at least 1, and m times t of at most 262144",
        ),
        (
            argon2id("m=64,t=+1,p=1"),
            "found argon2id with parameters that are no numbers, wanted $argon2id$v=19$m=MEMORY,t=PASSES,p=LANES$SALT$HASH",
        ),
        (
            PBKDF2.replace("$7$101$", "u:$7$250001$"),
            "found $7$ with 250001 iterations, wanted iterations of 1 to 250000",
        ),
        (PBKDF2.replace("$7$101$", "u:$7$0$"), "found $7$ with 0 iterations, wanted iterations of 1 to 250000"),
    ] {
        assert_eq!(errors(&line), [format!("line 1: {error}")], "{line}");
    }
    for params in ["m=65536,t=4,p=1", "m=65536,t=3,p=4", "m=47104,t=1,p=1", "m=19456,t=2,p=1"] {
        assert!(parse(&argon2id(params)).is_ok(), "{params}");
    }
    assert!(parse(&PBKDF2.replace("$7$101$", "u:$7$210000$")).is_ok());
}

#[test]
fn salts_and_hashes_of_the_wrong_length_are_refused() {
    for (line, error) in [
        ("u:$6$AAAA$AAAA".to_owned(), "found a hash of 3 bytes, wanted 64"),
        ("u:$6$$AAAA".to_owned(), "found a salt of 0 bytes, wanted 1 to 64"),
        ("u:$6$A?AA$AAAA".to_owned(), "found a salt that is not base64, wanted base64"),
        ("u:$6$AAAA".to_owned(), "found $6$ with other parts, wanted $6$SALT$HASH"),
        (format!("u:{SHA512}$"), "found $6$ with other parts, wanted $6$SALT$HASH"),
        ("u:$7$1$AAAA".to_owned(), "found $7$ with other parts, wanted $7$ITERATIONS$SALT$HASH"),
        ("u:$argon2id$v=16$m=8,t=1,p=1$c29tZXNhbHQ$AAAA".to_owned(), "found argon2id of another version, wanted v=19"),
        ("u:$argon2id$v=19$m=8,t=1,p=1$c29t$AAAA".to_owned(), "found a salt of 3 bytes, wanted 8 to 64"),
        ("u:$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAA".to_owned(), "found a hash of 3 bytes, wanted 16 to 64"),
        (format!("u:$6$AAAA${}", "A".repeat(3000)), "found 3010 bytes, wanted at most 2048"),
    ] {
        assert_eq!(errors(&line), [format!("line 1: {error}")], "{line}");
    }
}

#[test]
fn the_limit_on_users_is_reached_and_not_passed() {
    let text: String = (0..4).map(|i| format!("user-{i}:{SHA512}\n")).collect();
    assert_eq!(PasswordFile::parse(&text, PasswordLimits { users_max: 4 }).unwrap().users(), 4);
    let errors = PasswordFile::parse(&text, PasswordLimits { users_max: 3 }).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert_eq!(errors[0].to_string(), "line 4: found one more user, wanted at most 3 users");
}

#[test]
fn a_file_of_garbage_yields_a_bounded_number_of_errors() {
    let found = errors(&"garbage\n".repeat(1000));
    assert_eq!(found.len(), 101);
    assert_eq!(found[100], "line 100: found 900 more errors, wanted none");
}

#[test]
fn a_new_hash_is_read_back_and_verified() {
    let text = hash_password(b"s3cret", QUICK, b"0123456789abcdef").unwrap();
    assert!(text.starts_with("$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$"), "{text}");
    let file = parse(&format!("alice:{text}")).unwrap();
    assert!(file.verify("alice", b"s3cret", &mut Scratch::default()));
    assert!(!file.verify("alice", b"s3creT", &mut Scratch::default()));
    assert_ne!(text, hash_password(b"s3cret", QUICK, b"0123456789abcdeg").unwrap());
}

#[test]
fn the_default_parameters_are_owasps_and_can_be_read_back() {
    let Argon2idParams { memory_kib, passes, lanes } = Argon2idParams::default();
    assert_eq!((memory_kib, passes, lanes), (7168, 5, 1));
    let text = hash_password(b"s3cret", Argon2idParams::default(), b"0123456789abcdef").unwrap();
    assert!(Hash::parse(&text).is_ok_and(|hash| hash.verify(b"s3cret", &mut Scratch::default())));
}

#[test]
fn no_hash_is_made_that_could_not_be_read_back() {
    let refused = |params, salt: &[u8]| hash_password(b"s3cret", params, salt).unwrap_err().to_string();
    assert_eq!(refused(QUICK, b"short"), "found a salt of 5 bytes, wanted 8 to 64");
    assert_eq!(refused(QUICK, &[0; 65]), "found a salt of 65 bytes, wanted 8 to 64");
    let heavy = Argon2idParams { memory_kib: 1 << 20, ..QUICK };
    assert_eq!(refused(heavy, &[0; 16]), "found argon2id with m=1048576, wanted m of 8 to 65536");
    let long = vec![b'x'; 65_536];
    assert!(hash_password(&long, QUICK, &[0; 16]).is_err());
}

#[test]
fn an_unknown_name_costs_the_memory_of_a_known_one() {
    let file = parse(&format!("alice:{ARGON2ID}")).unwrap();
    for name in ["alice", "nobody"] {
        let mut scratch = Scratch::default();
        assert_eq!(scratch.bytes(), 0);
        assert_eq!(file.verify(name, b"password", &mut scratch), name == "alice");
        assert_eq!(scratch.bytes(), 256 * 1024, "{name}");
    }
}

#[test]
fn nothing_that_is_printed_holds_a_hash() {
    let file = parse(&format!("alice:{PBKDF2}")).unwrap();
    let shown = format!("{file:?} {:?}", file.find("alice"));
    assert_eq!(shown, "PasswordFile { users: 1, .. } Some(Hash { cost: Pbkdf2 { iterations: 101 }, .. })");
}

proptest! {
    /// Whatever stands after the name, its text is not repeated.
    #[test]
    fn errors_never_show_what_may_be_a_password(
        prefix in prop::sample::select(vec!["", "$6$", "$7$", "$7$101$", "$argon2id$", "$argon2id$v=19$", "$2b$", "x:"]),
        secret in "[a-zA-Z0-9+/$=]{12,40}",
        colon in any::<bool>(),
    ) {
        let line = if colon { format!("alice:{prefix}{secret}") } else { format!("{prefix}{secret}") };
        if let Err(errors) = parse(&line) {
            for error in errors {
                let shown = error.to_string();
                prop_assert!(!shown.contains(&secret), "{}", shown);
                prop_assert!(!shown.contains("alice"), "{}", shown);
            }
        }
    }

    #[test]
    fn any_password_is_verified_and_any_other_is_not(password: Vec<u8>, other: Vec<u8>, salt: [u8; 16]) {
        let hash = Hash::parse(&hash_password(&password, QUICK, &salt).unwrap()).unwrap();
        prop_assert!(hash.verify(&password, &mut Scratch::default()));
        prop_assert_eq!(hash.verify(&other, &mut Scratch::default()), password == other);
    }

    #[test]
    fn any_text_is_read_without_panic(text: String) {
        let _ = parse(&text);
        let _ = Hash::parse(&text);
        let _ = Hash::parse(&format!("$argon2id${text}"));
        let _ = Hash::parse(&format!("$7${text}"));
    }
}
