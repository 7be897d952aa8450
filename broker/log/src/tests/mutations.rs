//! Deliberate bugs, each of which the random runs must find: what can't fail proves nothing.

use crate::settings::Sabotage;
use crate::tests::random::run;

/// The first seed whose run finds the bug.
fn found_by(bug: Sabotage) -> Option<(u64, String)> {
    (0..300).find_map(|seed| run(seed, Some(bug)).err().map(|error| (seed, error)))
}

fn assert_found(bug: Sabotage) {
    let (seed, error) = found_by(bug).unwrap_or_else(|| panic!("{bug:?} was not found in 300 seeds"));
    println!("{bug:?} is found by seed {seed}: {:.200}", error);
}

#[test]
fn sync_that_does_nothing_is_found() {
    assert_found(Sabotage::NoSync);
}

#[test]
fn folder_that_is_not_synced_is_found() {
    assert_found(Sabotage::FolderNotSynced);
}

#[test]
fn checksum_that_is_not_checked_is_found() {
    assert_found(Sabotage::ChecksumNotChecked);
}

#[test]
fn torn_tail_that_is_not_cut_is_found() {
    assert_found(Sabotage::TailNotCut);
}

#[test]
fn state_that_is_not_carried_is_found() {
    assert_found(Sabotage::StateNotCarried);
}

#[test]
fn segment_reclaimed_before_its_purge_is_synced_is_found() {
    assert_found(Sabotage::ReclaimBeforeSync);
}

#[test]
fn segment_written_over_while_its_name_may_come_back_is_found() {
    assert_found(Sabotage::SpareNotSynced);
}

#[test]
fn tail_that_a_failed_sync_lost_and_nobody_rewrote_is_found() {
    assert_found(Sabotage::TailNotRewritten);
}
