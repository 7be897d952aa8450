//! Limits that fit into the memory that is granted.
//!
//! The limits bound what clients and peers can make the process hold; their defaults are for 1 GiB (`fulmar_config`,
//! `Limits`, has the sum). Where there is less, those that nobody chose shrink in proportion, so that a broker refuses
//! work instead of being killed in the middle of it. What somebody chose is kept, and said to be too much where it is.

use fulmar_config::Limits;

/// Code, stacks, and buffers that are there without any client.
const PROCESS_BYTES: u64 = 30 << 20;
/// What a data thread takes beyond the bounds while they are not enforced yet: output of a turn, and messages on their way
/// from other threads.
const THREAD_BYTES: u64 = 12 << 20;
/// The rest is for what connections take in proportion to their number, and for the kernel.
const USABLE_PERCENT: u64 = 95;
/// What the groups of the store keep of their logs, and what is on its way to them.
const STORE_BYTES: u64 = 64 << 20;
/// A link's buffer holds up to twice its bound, for each of the two peers of a cluster of three.
const LINK_BUFFERS: u64 = 2 * 2;
/// Tries to share what there is; each comes closer.
const SHARING_ROUNDS: u32 = 16;
/// The least that a broker is of use with.
const RETAINED_BYTES_LEAST: u64 = 1 << 20;
const SESSION_BYTES_LEAST: u64 = 4 << 20;
const STORED_BYTES_LEAST: u64 = 1 << 20;
const OUTPUT_BUFFER_BYTES_LEAST: u32 = 64 << 10;
const HANDSHAKES_LEAST: u32 = 16;

/// What of the configuration takes memory, besides the limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) threads: u16,
    pub(crate) has_tls: bool,
    pub(crate) has_cluster: bool,
    /// Sessions and retained messages are in the store as well.
    pub(crate) has_store: bool,
}

/// How limits and memory go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    /// Some limits were lowered.
    pub(crate) is_lowered: bool,
    /// What the limits allow clients and peers to take, and the process itself.
    pub(crate) needed: u64,
    /// What the limits may add up to.
    pub(crate) usable: u64,
}

/// Lowers the limits that nobody chose until all together fit into `memory`, as far as that goes.
pub(crate) fn fit(limits: &mut Limits, shape: Shape, memory: u64, is_chosen: impl Fn(&str) -> bool) -> Fit {
    let usable = memory / 100 * USABLE_PERCENT;
    let whole = sum(limits, shape);
    if whole <= usable {
        return Fit { is_lowered: false, needed: whole, usable };
    }
    let mut chosen = limits.clone();
    lower(&mut chosen, &is_chosen, |_, _| 0);
    let fixed = sum(&chosen, shape);
    let mut part = usable.saturating_sub(fixed);
    let defaults = limits.clone();
    // What stays at its least takes more than its share: the others have so much less.
    for _ in 0..SHARING_ROUNDS {
        let share = Share { part, whole: whole - fixed };
        *limits = defaults.clone();
        lower(limits, &is_chosen, |value, least| share.of(value).max(least).min(value));
        limits.queued_bytes = limits.queued_bytes.min(limits.queued_bytes_total / 2);
        let needed = sum(limits, shape);
        if needed <= usable {
            break;
        }
        part = part.saturating_sub(needed - usable);
    }
    Fit { is_lowered: true, needed: sum(limits, shape), usable }
}

/// Gives every limit that takes memory and that nobody chose the value that `value_for` has for it, from what it was and
/// from the least that a broker is of use with.
fn lower(limits: &mut Limits, is_chosen: impl Fn(&str) -> bool, value_for: impl Fn(u64, u64) -> u64) {
    let packet = u64::from(limits.packet_bytes);
    // One client may have half of what all have (fulmar_config, rules).
    let per_client = if is_chosen("limits.queuedBytes") { limits.queued_bytes } else { packet };
    for (path, value, least) in [
        ("limits.retainedBytes", &mut limits.retained_bytes, RETAINED_BYTES_LEAST),
        ("limits.sessionBytesTotal", &mut limits.session_bytes_total, SESSION_BYTES_LEAST),
        ("limits.inputBufferBytesTotal", &mut limits.input_buffer_bytes_total, packet),
        ("limits.outputBufferBytesTotal", &mut limits.output_buffer_bytes_total, packet),
        ("limits.linkBufferBytes", &mut limits.link_buffer_bytes, 2 * packet),
        ("limits.queuedBytesTotal", &mut limits.queued_bytes_total, 2 * per_client),
        ("limits.storedBytesInMemory", &mut limits.stored_bytes_in_memory, STORED_BYTES_LEAST),
    ] {
        if !is_chosen(path) {
            *value = value_for(*value, least);
        }
    }
    for (path, value, least) in [
        ("limits.outputBufferBytes", &mut limits.output_buffer_bytes, OUTPUT_BUFFER_BYTES_LEAST),
        ("limits.handshakes", &mut limits.handshakes, HANDSHAKES_LEAST),
    ] {
        if !is_chosen(path) {
            *value = u32::try_from(value_for((*value).into(), least.into())).unwrap_or(u32::MAX);
        }
    }
}

/// `part` of `whole`, of any number.
#[derive(Clone, Copy)]
struct Share {
    part: u64,
    whole: u64,
}

impl Share {
    fn of(self, value: u64) -> u64 {
        let scaled = u128::from(value) * u128::from(self.part) / u128::from(self.whole.max(1));
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}

/// What the limits allow all clients and peers together to take, and what the process takes by itself.
fn sum(limits: &Limits, shape: Shape) -> u64 {
    let Shape { threads, has_tls, has_cluster, has_store } = shape;
    let stored = limits.stored_bytes().min(limits.stored_bytes_in_memory);
    let in_store = limits.retained_bytes.saturating_add(limits.session_bytes_total).saturating_add(stored);
    let thread_count = u64::from(threads.max(1));
    let handshakes = u64::from(limits.handshakes) * u64::from(limits.first_packet_bytes());
    [
        PROCESS_BYTES,
        THREAD_BYTES * thread_count,
        limits.queued_bytes_total,
        limits.retained_bytes.saturating_add(limits.retained_bytes / 4),
        limits.session_bytes_total,
        // Half of it for either kind of bytes that wait.
        limits.input_buffer_bytes_per_thread(threads).saturating_mul(2 * thread_count),
        limits.output_buffer_bytes_per_thread(threads).saturating_mul(thread_count),
        if has_cluster { limits.link_buffer_bytes.saturating_mul(LINK_BUFFERS) } else { 0 },
        if has_tls { handshakes } else { 0 },
        if has_store { in_store.saturating_add(STORE_BYTES) } else { 0 },
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const POD: Shape = Shape { threads: 2, has_tls: true, has_cluster: true, has_store: false };

    #[test]
    fn the_defaults_fit_into_1_gib_with_up_to_4_threads() {
        for threads in 1..=4 {
            let mut limits = Limits::default();
            let fit = fit(&mut limits, Shape { threads, ..POD }, 1024 * MIB, |_| false);
            assert_eq!((fit.is_lowered, limits), (false, Limits::default()), "{threads} threads: {fit:?}");
        }
    }

    #[test]
    fn what_nobody_chose_shrinks_in_proportion_until_all_fits() {
        for megabytes in [128, 200, 256, 512, 900] {
            let mut limits = Limits::default();
            let fit = fit(&mut limits, POD, megabytes * MIB, |_| false);
            assert!(fit.is_lowered && fit.needed <= fit.usable, "{megabytes}: {fit:?}");
            assert!(limits.queued_bytes_total >= 2 * limits.queued_bytes, "{megabytes}: {limits:?}");
            assert_eq!(limits.packet_bytes, Limits::default().packet_bytes, "clients were told of it");
        }
        let mut half = Limits::default();
        fit(&mut half, POD, 512 * MIB, |_| false);
        let default = Limits::default();
        let ratio = half.retained_bytes as f64 / default.retained_bytes as f64;
        assert!((0.45..0.51).contains(&ratio), "{ratio}");
    }

    #[test]
    fn what_somebody_chose_is_kept_and_the_rest_makes_room_for_it() {
        let mut limits = Limits { retained_bytes: 300 * MIB, ..Limits::default() };
        let fit = fit(&mut limits, POD, 512 * MIB, |path| path == "limits.retainedBytes");
        assert_eq!(limits.retained_bytes, 300 * MIB);
        assert!(fit.needed <= fit.usable, "{fit:?}");
        assert!(limits.session_bytes_total < 40 * MIB, "{limits:?}");
    }

    #[test]
    fn too_little_is_told() {
        let mut limits = Limits::default();
        let fit = fit(&mut limits, POD, 48 * MIB, |_| false);
        assert!(fit.needed > fit.usable, "{fit:?}");
        let mut chosen = Limits { queued_bytes_total: 900 * MIB, ..Limits::default() };
        let fit = super::fit(&mut chosen, POD, 512 * MIB, |path| path == "limits.queuedBytesTotal");
        assert_eq!(chosen.queued_bytes_total, 900 * MIB);
        assert!(fit.needed > fit.usable, "{fit:?}");
    }

    #[test]
    fn a_broker_without_tls_and_peers_keeps_nothing_for_them() {
        let alone = Shape { threads: 1, has_tls: false, has_cluster: false, has_store: false };
        let mut limits = Limits::default();
        assert!(!fit(&mut limits, alone, 850 * MIB, |_| false).is_lowered);
    }
}
