//! A cluster forms on virtual time, and comes to rest again whatever broke.

use fulmar_sim::{Options, run};

#[test]
fn a_cluster_forms_from_each_seed_and_each_time_in_the_same_way() {
    for seed in 0..4 {
        let options = Options { seed, is_calm: true, is_traced: true, ..Options::default() };
        let report = run(options, Vec::new(), |_| Vec::new());
        assert_eq!(report.violations, Vec::<String>::new(), "seed {seed}: {}", report.lines.join("\n"));
        let again = run(options, Vec::new(), |_| Vec::new());
        assert_eq!((report.hash, report.steps, report.time), (again.hash, again.steps, again.time));
    }
}

#[test]
fn a_cluster_without_clients_comes_to_rest_whatever_breaks() {
    for seed in 0..20 {
        let options = Options { seed, is_traced: true, ..Options::default() };
        let report = run(options, Vec::new(), |_| Vec::new());
        assert_eq!(report.violations, Vec::<String>::new(), "seed {seed}: {}", report.lines.join("\n"));
    }
}
