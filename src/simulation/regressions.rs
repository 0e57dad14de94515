//! Scenarios that failed once, or that fail with a fault that was planted to try the checks.

use super::run;

fn holds(scenario: &str) {
    run(&scenario.parse().unwrap()).unwrap_or_else(|failure| panic!("{failure}\n{scenario}"));
}

#[test]
fn a_job_that_is_short_is_seen_from_beginning_to_end() {
    holds(
        "world: seed 1 lasts 462 replicas 1 policy quota instances 3
         job: at 462 share a instances 1 lasts 39 failing 2 attempts 1",
    );
}

#[test]
fn a_leader_without_a_network_does_not_show_for_minutes_that_it_leads() {
    holds(
        "world: seed 4 lasts 426 replicas 2 policy quota instances 2
         job: at 246 share b instances 2 lasts 284 failing 0 attempts 2
         partition: at 229 lasts 197 replica 1 on ListServiceJobs by 0",
    );
}

#[test]
fn a_replica_that_has_lost_the_log_sends_nothing_more() {
    holds(
        "world: seed 1 lasts 500 replicas 2 policy fifo instances 2
         job: at 20 share - instances 2 lasts 500 failing 0 attempts 1
         job: at 60 share - instances 2 lasts 60 failing 0 attempts 1
         topic: at 100 lasts 200 replica 0 on * by 0
         silent_bucket: at 160 lasts 120 replica 0 on * by 0
         silent_bucket: at 340 lasts 120 replica 1 on * by 0",
    );
}

#[test]
fn a_process_that_starts_while_its_disk_fails_is_started_again_by_its_orchestrator() {
    holds(
        "world: seed 11 lasts 505 replicas 1 policy fair instances 4
         job: at 98 share b instances 1 lasts 206 failing 1 attempts 3
         death_with_disk: at 251 lasts 156 replica 0 on DescribeServiceJob by 0
         failing_disk: at 330 lasts 175 replica 0 on DescribeTrainingJob by 0",
    );
}

#[test]
fn a_silence_lasts_from_when_it_was_asked_for() {
    holds(
        "world: seed 29 lasts 352 replicas 1 policy quota instances 2
         job: at 46 share b instances 2 lasts 148 failing 0 attempts 2
         job: at 202 share b instances 1 lasts 165 failing 0 attempts 3
         slow_disk: at 45 lasts 151 replica 0 on DescribeServiceJob by 0
         silence: at 157 lasts 195 replica 0 on DescribeJobQueues by 0",
    );
}

#[test]
fn a_change_of_the_configuration_while_the_disk_fails_does_not_end_the_service() {
    holds(
        "world: seed 1 lasts 400 replicas 1 policy fifo instances 2
         job: at 20 share - instances 2 lasts 300 failing 0 attempts 1
         job: at 60 share - instances 2 lasts 60 failing 0 attempts 1
         failing_disk: at 170 lasts 60 replica 0 on * by 0
         config_changed: at 200 lasts 10 replica 0 on * by 0",
    );
}

#[test]
fn an_alert_waits_for_the_time_of_its_rule() {
    holds(
        "world: seed 1 lasts 340 replicas 1 policy quota instances 3
         job: at 220 share a instances 1 lasts 100 failing 0 attempts 1
         job: at 220 share b instances 2 lasts 100 failing 0 attempts 1
         job: at 230 share a instances 1 lasts 60 failing 0 attempts 1",
    );
}

#[test]
fn a_replica_that_applies_old_records_again_shows_no_old_figures() {
    holds(
        "world: seed 134 lasts 540 replicas 3 policy quota instances 3
         job: at 230 share b instances 2 lasts 273 failing 2 attempts 3
         job: at 93 share a instances 2 lasts 65 failing 2 attempts 3
         job: at 119 share b instances 1 lasts 183 failing 0 attempts 3
         job: at 312 share b instances 2 lasts 260 failing 0 attempts 2
         job: at 124 share b instances 2 lasts 207 failing 0 attempts 3
         job: at 134 share b instances 2 lasts 93 failing 0 attempts 3
         job: at 265 share a instances 2 lasts 293 failing 0 attempts 1
         config_changed: at 235 lasts 126 replica 2 on ListServiceJobs by 0
         slow_bucket: at 267 lasts 157 replica 1 on ListServiceJobs by 0
         slow_bucket: at 378 lasts 156 replica 0 on DescribeJobQueues by 0",
    );
}

#[test]
fn a_notification_that_fails_is_sent_again() {
    holds(
        "world: seed 1 lasts 500 replicas 1 policy fifo instances 2
         job: at 20 share - instances 2 lasts 400 failing 0 attempts 1
         job: at 40 share - instances 2 lasts 60 failing 0 attempts 1
         topic: at 100 lasts 25 replica 0 on * by 0",
    );
}

#[test]
fn alerts_that_fire_outlast_a_change_of_rules() {
    holds(
        "world: seed 1 lasts 500 replicas 1 policy fifo instances 2
         job: at 20 share - instances 2 lasts 400 failing 0 attempts 1
         job: at 40 share - instances 2 lasts 60 failing 0 attempts 1
         rules_changed: at 200 lasts 10 replica 0 on * by 0",
    );
}

#[test]
fn a_silence_outlasts_the_wait_of_its_rule() {
    holds(
        "world: seed 1 lasts 500 replicas 1 policy fifo instances 2
         job: at 20 share - instances 2 lasts 400 failing 0 attempts 1
         job: at 40 share - instances 2 lasts 60 failing 0 attempts 1
         silence: at 70 lasts 200 replica 0 on * by 0",
    );
}

#[test]
fn alerts_and_counters_outlast_a_death() {
    holds(
        "world: seed 1 lasts 500 replicas 1 policy fifo instances 2
         job: at 20 share - instances 2 lasts 400 failing 0 attempts 1
         job: at 40 share - instances 2 lasts 60 failing 0 attempts 1
         death: at 200 lasts 10 replica 0 on * by 0",
    );
}
