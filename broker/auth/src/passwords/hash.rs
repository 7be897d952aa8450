//! The hash of one password: reading it, verifying a password against it, making a new one.
//!
//! | text | what it is |
//! |---|---|
//! | `$argon2id$v=19$m=7168,t=5,p=1$SALT$HASH` | argon2id as a PHC string; what we write |
//! | `$7$ITERATIONS$SALT$HASH` | PBKDF2-HMAC-SHA512; what `mosquitto_passwd` writes |
//! | `$6$SALT$HASH` | SHA-512 of password and salt; what old versions of `mosquitto_passwd` write |
//!
//! Every parameter is bounded when it is read, so that no line of a file can hold a thread for long.

use std::fmt;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

/// The longest password that is looked at: as many bytes as MQTT can carry (MQTT 5.0, 3.1.3.6).
pub const PASSWORD_BYTES_MAX: usize = 65_535;

const SALT_BYTES_MAX: usize = 64;
/// What argon2 itself asks for (RFC 9106, 3.1).
const ARGON2_SALT_BYTES_MIN: usize = 8;
const ARGON2_HASH_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
const ARGON2_MEMORY_KIB: std::ops::RangeInclusive<u32> = 8..=65_536;
const ARGON2_LANES: std::ops::RangeInclusive<u32> = 1..=8;
/// Memory times passes is the time that a verification takes; this is about a quarter of a second.
const ARGON2_WORK_KIB_MAX: u64 = 256 * 1024;
/// The same quarter of a second.
const PBKDF2_ITERATIONS: std::ops::RangeInclusive<u32> = 1..=250_000;
const SHA512_BYTES: usize = 64;

/// What argon2id spends on one password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Argon2idParams {
    /// `m`: the memory in KiB.
    pub memory_kib: u32,
    /// `t`: how often it is gone through.
    pub passes: u32,
    /// `p`: lanes. We compute them one after the other.
    pub lanes: u32,
}

impl Default for Argon2idParams {
    fn default() -> Self {
        Self { memory_kib: 7168, passes: 5, lanes: 1 }
    }
}

impl Argon2idParams {
    fn check(self) -> Result<Self, HashError> {
        let Argon2idParams { memory_kib, passes, lanes } = self;
        let refuse = |found: String, wanted: String| Err(HashError { found, wanted });
        if !ARGON2_LANES.contains(&lanes) {
            return refuse(format!("argon2id with p={lanes}"), range("p", &ARGON2_LANES));
        }
        if !ARGON2_MEMORY_KIB.contains(&memory_kib) {
            return refuse(format!("argon2id with m={memory_kib}"), range("m", &ARGON2_MEMORY_KIB));
        }
        if memory_kib < 8 * lanes {
            return refuse(format!("argon2id with m={memory_kib} and p={lanes}"), "m of at least 8 times p".to_owned());
        }
        if passes == 0 || u64::from(memory_kib) * u64::from(passes) > ARGON2_WORK_KIB_MAX {
            let found = format!("argon2id with m={memory_kib} and t={passes}");
            return refuse(found, format!("t of at least 1, and m times t of at most {ARGON2_WORK_KIB_MAX}"));
        }
        Ok(self)
    }

    fn fill(
        self,
        password: &[u8],
        salt: &[u8],
        out: &mut [u8],
        Scratch(blocks): &mut Scratch,
    ) -> Result<(), argon2::Error> {
        let params = Params::new(self.memory_kib, self.passes, self.lanes, Some(out.len()))?;
        let count = params.block_count();
        if blocks.len() < count {
            blocks.resize(count, Block::new());
        }
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        argon2.hash_password_into_with_memory(password, salt, out, &mut blocks[..count])
    }
}

/// The memory that argon2id works in. A thread that verifies keeps one: asking the system for megabytes each time costs
/// a good part of the hash. It grows to what the largest hash needs, at most 64 MiB; drop it to give it back.
#[derive(Default)]
pub struct Scratch(Vec<Block>);

impl Scratch {
    /// The bytes that it owns.
    pub fn bytes(&self) -> usize {
        self.0.capacity() * Block::SIZE
    }
}

/// What is left in it of passwords is not shown.
impl fmt::Debug for Scratch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Scratch").field("bytes", &self.bytes()).finish()
    }
}

/// Why a text is no hash that we verify, without showing it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {found}, wanted {wanted}")]
pub struct HashError {
    /// What stands there.
    pub found: String,
    /// What would be accepted.
    pub wanted: String,
}

/// A password's hash as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct Hash {
    pub(super) cost: Cost,
    salt: Box<[u8]>,
    digest: Box<[u8]>,
}

/// What verifying costs, apart from the length of the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cost {
    Argon2id(Argon2idParams),
    Pbkdf2 { iterations: u32 },
    Sha512,
}

impl Hash {
    /// Reads one of the forms above.
    pub fn parse(text: &str) -> Result<Hash, HashError> {
        if let Some(rest) = text.strip_prefix("$argon2id$") {
            parse_argon2id(rest)
        } else if let Some(rest) = text.strip_prefix("$7$") {
            parse_pbkdf2(rest)
        } else if let Some(rest) = text.strip_prefix("$6$") {
            parse_sha512(rest)
        } else {
            let found = UNSUPPORTED.iter().find(|(prefix, _)| text.starts_with(prefix)).map(|(_, name)| *name);
            let found = found.unwrap_or("a text that is no hash we know");
            Err(error(found, "a hash that begins with $argon2id$, $7$ or $6$"))
        }
    }

    /// Whether this is the password's hash. Slow by intent; the comparison takes the same time wherever they differ.
    pub fn verify(&self, password: &[u8], scratch: &mut Scratch) -> bool {
        let mut computed = [0; SHA512_BYTES];
        let computed = &mut computed[..self.digest.len()];
        if password.len() > PASSWORD_BYTES_MAX || !self.cost.fill(password, &self.salt, computed, scratch) {
            return false;
        }
        bool::from(computed.ct_eq(&self.digest))
    }

    /// Everything that makes this hash differ from another: kind and parameters, salt, digest.
    pub(crate) fn parts(&self) -> ([u32; 4], [&[u8]; 2]) {
        let cost = match self.cost {
            Cost::Argon2id(Argon2idParams { memory_kib, passes, lanes }) => [0, memory_kib, passes, lanes],
            Cost::Pbkdf2 { iterations } => [7, iterations, 0, 0],
            Cost::Sha512 => [6, 0, 0, 0],
        };
        (cost, [&self.salt, &self.digest])
    }
}

/// A hash is never shown.
impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Hash").field("cost", &self.cost).finish_non_exhaustive()
    }
}

impl Cost {
    /// Whether `out` now holds the digest of the password. It cannot fail for what was read by [`Hash::parse`].
    pub(super) fn fill(self, password: &[u8], salt: &[u8], out: &mut [u8], scratch: &mut Scratch) -> bool {
        match self {
            Cost::Argon2id(params) => params.fill(password, salt, out, scratch).is_ok(),
            Cost::Pbkdf2 { iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations, out);
                true
            }
            Cost::Sha512 => {
                let digest = Sha512::new().chain_update(password).chain_update(salt).finalize();
                out.copy_from_slice(&digest[..]);
                true
            }
        }
    }
}

/// A new PHC string for a password file. `salt` is random, of 8 to 64 bytes; 16 are usual.
///
/// The default parameters are the ones with the least memory of the five that OWASP's Password Storage Cheat Sheet
/// gives as equal in strength. Ten thousand clients that come back at once after a restart are to be verified within
/// 120 seconds by 2 cores, which leaves 24 milliseconds for each. These parameters took 11 to 18 (`cargo run --release
/// -p fulmar-auth --example measure_auth passwords`), those with 46 MiB 21 to 23; and a pool of two threads needs 14 MiB.
pub fn hash_password(password: &[u8], params: Argon2idParams, salt: &[u8]) -> Result<String, HashError> {
    let params = params.check()?;
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(error(format!("{} bytes of password", password.len()), format!("at most {PASSWORD_BYTES_MAX}")));
    }
    check_length("salt", salt.len(), &(ARGON2_SALT_BYTES_MIN..=SALT_BYTES_MAX))?;
    let mut digest = [0; 32];
    let scratch = &mut Scratch::default();
    params
        .fill(password, salt, &mut digest, scratch)
        .map_err(|reason| error(reason.to_string(), "other parameters"))?;
    let Argon2idParams { memory_kib, passes, lanes } = params;
    let (salt, digest) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(digest));
    Ok(format!("$argon2id$v=19$m={memory_kib},t={passes},p={lanes}${salt}${digest}"))
}

/// Hashes that others write and we do not verify, so that the error can name them.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("$argon2i$", "argon2i"),
    ("$argon2d$", "argon2d"),
    ("$2", "bcrypt"),
    ("$5$", "crypt's SHA-256"),
    ("$1$", "crypt's MD5"),
    ("$y$", "yescrypt"),
    ("$scrypt$", "scrypt"),
    ("PBKDF2$", "the hash of mosquitto-auth-plug"),
];

fn parse_argon2id(rest: &str) -> Result<Hash, HashError> {
    const WANTED: &str = "$argon2id$v=19$m=MEMORY,t=PASSES,p=LANES$SALT$HASH";
    let fields: Vec<&str> = rest.splitn(5, '$').collect();
    let [version, params, salt, digest] = fields[..] else {
        return Err(error("argon2id with other parts", WANTED));
    };
    if version != "v=19" {
        return Err(error("argon2id of another version", "v=19"));
    }
    let params: Vec<&str> = params.splitn(4, ',').collect();
    let [memory, passes, lanes] = params[..] else {
        return Err(error("argon2id with other parameters", WANTED));
    };
    let number = |text: &str, name: &str| text.strip_prefix(name).and_then(parse_number);
    let (Some(memory_kib), Some(passes), Some(lanes)) =
        (number(memory, "m="), number(passes, "t="), number(lanes, "p="))
    else {
        return Err(error("argon2id with parameters that are no numbers", WANTED));
    };
    let params = Argon2idParams { memory_kib, passes, lanes }.check()?;
    let salt = decode(&STANDARD_NO_PAD, "salt", salt, &(ARGON2_SALT_BYTES_MIN..=SALT_BYTES_MAX))?;
    let digest = decode(&STANDARD_NO_PAD, "hash", digest, &ARGON2_HASH_BYTES)?;
    Ok(Hash { cost: Cost::Argon2id(params), salt, digest })
}

fn parse_pbkdf2(rest: &str) -> Result<Hash, HashError> {
    let fields: Vec<&str> = rest.splitn(4, '$').collect();
    let [iterations, salt, digest] = fields[..] else {
        return Err(error("$7$ with other parts", "$7$ITERATIONS$SALT$HASH"));
    };
    let Some(iterations) = parse_number(iterations) else {
        return Err(error("$7$ without a number of iterations", "$7$ITERATIONS$SALT$HASH"));
    };
    if !PBKDF2_ITERATIONS.contains(&iterations) {
        return Err(error(format!("$7$ with {iterations} iterations"), range("iterations", &PBKDF2_ITERATIONS)));
    }
    mosquitto_hash(Cost::Pbkdf2 { iterations }, salt, digest)
}

fn parse_sha512(rest: &str) -> Result<Hash, HashError> {
    let fields: Vec<&str> = rest.splitn(3, '$').collect();
    let [salt, digest] = fields[..] else {
        return Err(error("$6$ with other parts", "$6$SALT$HASH"));
    };
    mosquitto_hash(Cost::Sha512, salt, digest)
}

fn mosquitto_hash(cost: Cost, salt: &str, digest: &str) -> Result<Hash, HashError> {
    let salt = decode(&STANDARD, "salt", salt, &(1..=SALT_BYTES_MAX))?;
    let digest = decode(&STANDARD, "hash", digest, &(SHA512_BYTES..=SHA512_BYTES))?;
    Ok(Hash { cost, salt, digest })
}

/// Digits only: Rust would take `+5` as well.
fn parse_number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn decode(
    alphabet: &impl Engine,
    name: &str,
    text: &str,
    lengths: &std::ops::RangeInclusive<usize>,
) -> Result<Box<[u8]>, HashError> {
    let bytes = alphabet.decode(text).map_err(|_| error(format!("a {name} that is not base64"), "base64"))?;
    check_length(name, bytes.len(), lengths)?;
    Ok(bytes.into())
}

fn check_length(name: &str, bytes: usize, lengths: &std::ops::RangeInclusive<usize>) -> Result<(), HashError> {
    if lengths.contains(&bytes) {
        return Ok(());
    }
    let (least, most) = (lengths.start(), lengths.end());
    let wanted = if least == most { format!("{least}") } else { format!("{least} to {most}") };
    Err(error(format!("a {name} of {bytes} bytes"), wanted))
}

fn range(name: &str, range: &std::ops::RangeInclusive<u32>) -> String {
    format!("{name} of {} to {}", range.start(), range.end())
}

fn error(found: impl Into<String>, wanted: impl Into<String>) -> HashError {
    HashError { found: found.into(), wanted: wanted.into() }
}
