//! What was done and how long each part took.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use crate::failure::Failure;

#[derive(Debug, Default)]
pub(super) struct Table(Vec<Row>);

#[derive(Debug)]
struct Row {
    what: &'static str,
    took: Duration,
    note: String,
}

impl Table {
    /// Does one part and takes its time. A part that fails ends the demo.
    pub(super) async fn step<T>(
        &mut self,
        what: &'static str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        eprintln!("==> {what}");
        let started = Instant::now();
        let done = work.await?;
        self.0.push(Row { what, took: started.elapsed(), note: String::new() });
        Ok(done)
    }

    /// Says more about the last part.
    pub(super) fn note(&mut self, note: String) {
        if let Some(row) = self.0.last_mut() {
            row.note = note;
        }
    }

    pub(super) fn print(&self) {
        println!();
        for row in &self.0 {
            println!("{:36} {:>8.3} s  {}", row.what, row.took.as_secs_f64(), row.note);
        }
        let total: Duration = self.0.iter().map(|row| row.took).sum();
        println!("{:36} {:>8.3} s", "all of it", total.as_secs_f64());
    }
}
