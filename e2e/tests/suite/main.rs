//! The end-to-end tests, in their order. `cargo xtask e2e` runs them; words after `--` choose some by name.
//!
//! A group's tests run side by side. A test that measures time, or touches the operator that all share, is alone.

#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod bad_input;
mod clustering;
mod durable;
mod examples;
mod fixtures;
mod hpa;
mod quickstart;
mod refused;
mod releases;
mod repairs;
mod rights;
mod scaling;
mod tls;
mod upkeep;

use std::process::ExitCode;

use anyhow::{Context, Result};
use fulmar_e2e::suite::{self, Test};
use fulmar_e2e::{Kit, test};

const GROUPS: &[&[Test]] = &[
    &[test!(quickstart::quickstart_is_ready_within_30_seconds)],
    &[
        test!(clustering::messages_pass_between_all_six_pairs_of_pods),
        test!(clustering::a_publish_crosses_a_link_once_however_many_subscribe_and_not_at_all_where_none_does),
        test!(scaling::scaling_to_5_and_back_to_3_leaves_pods_0_to_2_untouched),
        test!(access::nobody_may_connect_until_the_user_says_who),
        test!(access::users_and_rules_from_secrets_decide_and_change_without_a_restart),
        test!(access::a_client_certificate_is_required_and_names_the_client),
        test!(refused::bad_resources_are_refused_with_what_was_found_and_what_is_wanted),
        test!(refused::a_missing_secret_is_named_while_the_cluster_keeps_running),
        test!(refused::an_object_of_somebody_else_is_left_alone_and_named),
        test!(tls::clients_verify_chain_and_name_of_own_and_of_brought_certificates),
        test!(tls::a_certificate_past_two_thirds_of_its_life_is_renewed_without_a_restart),
        test!(repairs::what_the_user_no_longer_wants_is_removed),
        test!(upkeep::a_changed_setting_restarts_pods_with_never_fewer_than_2_of_3_ready),
        test!(upkeep::all_pods_killed_at_once_come_back_by_themselves),
        test!(upkeep::a_deleted_cluster_leaves_only_its_claims),
        test!(scaling::pods_follow_the_connected_clients_from_3_to_5_and_back),
        test!(bad_input::bad_bytes_get_a_clear_answer_and_nobody_else_notices),
    ],
    // With traffic of their own, and one after the other: whoever fills the machine tests its clients' patience only.
    &[test!(durable::every_session_survives_the_death_of_each_pod)],
    &[test!(durable::every_session_survives_the_death_of_all_pods_at_once)],
    &[test!(durable::a_pod_that_lost_its_volume_comes_back_as_a_new_node_with_every_copy)],
    &[test!(durable::a_rolling_restart_loses_nothing_and_is_told)],
    &[test!(durable::a_fourth_pod_comes_and_goes_and_hands_over_what_it_kept)],
    &[test!(durable::a_lost_node_loses_nothing_and_its_pod_comes_back_with_it)],
    &[test!(upkeep::what_a_hand_edits_or_deletes_is_repaired_within_5_seconds_and_foreign_labels_stay)],
    &[test!(repairs::edited_and_deleted_certificates_are_repaired_within_5_seconds)],
    &[test!(repairs::an_edited_pod_template_and_an_edited_pin_are_repaired_within_5_seconds)],
    &[test!(examples::every_example_becomes_a_ready_cluster)],
    // While an API of metrics comes and goes, the discovery of all others may fail for a moment.
    &[test!(hpa::a_horizontal_pod_autoscaler_follows_the_connections_that_prometheus_reads)],
    &[test!(rights::the_operator_has_an_account_of_its_own_and_none_of_its_requests_was_refused)],
    // The last ones: they take the operator's rights away while its pod still ends.
    &[test!(releases::clusters_serve_on_while_the_chart_is_upgraded_removed_and_installed_again)],
    &[test!(releases::without_helm_one_file_brings_an_operator_that_makes_clusters)],
];

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let filter: Vec<String> = std::env::args().skip(1).collect();
    let kit = Kit::from_environment().await?;
    kit.install_chart(SETTINGS).await.context("install the chart")?;
    let is_passed = suite::run(&kit, GROUPS, &filter).await?;
    Ok(if is_passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Connections are read more often than by default, so that no test waits long for the autoscaler to look.
const SETTINGS: &[&str] = &["scrapeSeconds=3"];
