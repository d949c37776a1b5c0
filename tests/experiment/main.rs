//! Experiments: routing, recording, reports, and what the statistics promise. Numbers of peers: tests/experiment_golden;
//! error rates, power and coverage by simulation: benches/experiments.
//!
//! | # | what always holds | shown by |
//! |---|---|---|
//! | 1 | an assignment is the same in every thread, process and language | `routing`: `another_language_reproduces_every_assignment`, `any_number_of_threads_route_alike` |
//! | 2 | more exposure changes nobody's arm and sends nobody away | `routing`: `raising_exposure_adds_units_and_moves_none` |
//! | 3 | a change of shares moves the least possible, and composes | `routing`: `reweighting_moves_as_few_slots_as_can_be_and_composes` |
//! | 4 | arms part the slots exactly | `routing`: `slots_are_parted_among_arms_exactly_by_their_shares` |
//! | 5 | layers are disjoint, a holdout joins none | `routing`: `experiments_in_disjoint_ranges_of_a_layer_never_share_a_unit_and_a_holdout_joins_none` |
//! | 6 | purposes are independent, two by two | `routing`: `purposes_are_independent_of_each_other` |
//! | 7 | overrides are never counted | `record`: `overridden_and_unexposed_requests_are_not_counted` |
//! | 8 | counts merge in any order and parts, duplicates change nothing | `record`: `any_order_any_sharding_and_duplicates_give_the_same_bytes`, `merging_is_associative_and_commutative` |
//! | 9 | swapping the arms turns differences and leaves p-values | `tests/statistics.rs`: `swapping_the_arms_turns_the_difference_and_leaves_the_p_value`, `delong_sees_only_the_order_of_scores_and_is_exact_on_bins`; `evidence`: `swapping_the_arms_mirrors_the_event_process` |
//! | 10 | p-values are probabilities, intervals hold the estimate and leave out nothing exactly where their test rejects | `tests/statistics.rs`: `an_interval_leaves_out_zero_exactly_where_its_own_test_rejects`, `delong_…`; `evidence`: `a_confidence_sequence_leaves_out_zero_exactly_where_it_rejects` |
//! | 11 | always-valid p-values only fall, their intervals only shrink | `report`: `evidence_once_reached_stays_and_intervals_only_shrink`; `phases`: `evidence_of_a_phase_is_not_forgotten_in_the_next` |
//! | 12 | DeLong sees the order of scores only, finds nothing between a score and itself, and loses nothing to bins | `tests/statistics.rs`: `delong_sees_only_the_order_of_scores_and_is_exact_on_bins` |
//! | 13 | McNemar is symmetric | `tests/statistics.rs`: `mcnemar_does_not_care_which_comes_first` |
//! | 14 | the detectable effect has the planned power, larger effects need fewer units | `tests/statistics.rs`: `the_detectable_effect_has_the_planned_power_and_larger_effects_need_fewer_units`; `planning`: `sizes_and_what_they_show_are_inverse_to_each_other` |
//! | 15 | weights of one are no weights | `report`: `letting_everything_through_is_the_same_as_holding_nothing_back` |
//! | 16 | with all labels there, the delay-adjusted rate is the plain one | `tests/experiment_golden`: `misc` |
//! | 17 | one row per cluster is the plain variance | `tests/statistics.rs`: `one_row_per_cluster_is_the_plain_variance` |
//! | 18 | nothing is decided that was not stopped, no challenger answers unless it runs | `routing`: `no_path_leads_around_the_rules_and_the_trail_restores_each` |
//! | 19 | no report holds a number that is none | `report`: `no_report_holds_a_number_that_is_none` |

mod evidence;
mod modes;
mod phases;
mod planning;
mod record;
mod report;
mod routing;
mod world;
