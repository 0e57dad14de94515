//! Jobs for a few simulated hours.

/// A trace of two shares: `steady` uses its quota now and then, `bursty` requests far more than its own at once.
pub fn jobs() -> String {
    let mut csv = "job_id,share,num_gpu,submit_s,duration_s\n".to_owned();
    for job in 0..40 {
        csv += &format!("burst-{job},bursty,4,{},{}\n", 60 + job, 900 + job * 7);
        csv += &format!("steady-{job},steady,1,{},{}\n", job * 300, 240);
    }
    csv
}
