//! Alerts: looked at when something happens to a run and when their time comes, told by the messenger until it was done.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use tracing::{debug, error, warn};

use super::alarms::Again;
use super::end::End;
use super::state::Daemon;
use crate::alert::{Alert, Standing};
use crate::journal::{ALL_TOLD, Untold};
use crate::watch::messenger::{Delivered, Errand, Receiver};

/// The wait after the first telling that failed; it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest such wait.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

fn now() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

impl Daemon {
    /// Looks at a run's alerts, and tells of those that are raised.
    pub(super) fn look_at_alerts(&mut self, id: i64) {
        let Some(alerts) = self.alerts_of(id) else { return };
        if alerts.is_empty() && !self.alarms.due.contains_key(&id) {
            return;
        }
        let standing = self.standing(id);
        match self.journal.alert(id, &alerts, standing, now()) {
            Ok((next, lines)) => {
                match next {
                    Some(next) => self.alarms.due.insert(id, next),
                    None => self.alarms.due.remove(&id),
                };
                for line in &lines {
                    let event: serde_json::Value = serde_json::from_str(&line.text).unwrap_or_default();
                    let word = |key: &str| event[key].as_str().unwrap_or_default();
                    warn!(run = %line.run, "alert {}: {}", word("alert"), word("text"));
                }
                self.send(lines);
            }
            // Nobody hears of it; everything else goes on.
            Err(error) if error.is_of_record() => {
                self.alarms.due.remove(&id);
                error!("an alert of run {id} is passed over: {}", error.one_line());
                return;
            }
            Err(error) => {
                self.alarms.due.insert(id, now() + FIRST_WAIT.as_millis() as i64);
                return self.stalled(&error);
            }
        }
        self.tell_alerts(id, &alerts);
    }

    fn standing(&self, id: i64) -> Standing {
        let Some(run) = self.runs.get(&id) else { return Standing::default() };
        Standing {
            blocked: run.blocked.as_ref().map(|blocked| blocked.reason.clone()),
            is_caught: self.nearing.has_caught && !run.is_planning(),
            is_over: self.is_marked(&run.path) || self.nearing.end != End::Told,
        }
    }

    /// A run's alerts, by its last plan; `None` while there was none: what the journal knows of them holds meanwhile.
    fn alerts_of(&self, id: i64) -> Option<Vec<Alert>> {
        self.runs.get(&id)?.alerts.clone()
    }

    /// Sends errands for what nobody was told of yet: in each way of one time after another.
    fn tell_alerts(&mut self, id: i64, alerts: &[Alert]) {
        let Ok(untold) = self.journal.untold_alerts(id) else { return };
        self.alarms.again.retain(|(run, rule, _), _| *run != id || untold.iter().any(|untold| untold.rule == *rule));
        for untold in untold {
            let Some(alert) = alerts.iter().find(|alert| alert.key() == untold.rule) else { continue };
            let told = untold.told | self.alarms.unnoted.get(&untold.seq).copied().unwrap_or(0);
            let left: Vec<_> = self.receivers(alert).into_iter().filter(|to| told & to.way() == 0).collect();
            if left.is_empty() {
                match self.journal.set_alert_told(id, untold.seq, ALL_TOLD) {
                    Ok(()) => {
                        self.alarms.unnoted.remove(&untold.seq);
                    }
                    Err(error) => self.stalled(&error),
                }
                continue;
            }
            self.send_errands(id, &untold, left);
        }
    }

    fn send_errands(&mut self, id: i64, untold: &Untold, to: Vec<Receiver>) {
        let Untold { rule, seq, event, .. } = untold;
        for to in to {
            let name = (id, rule.clone(), to.way());
            let waits = self.alarms.again.get(&name).and_then(|again| again.at).is_some_and(|at| at > Instant::now());
            if waits || self.alarms.out.contains(&name) {
                continue;
            }
            let errand = Errand { run: id, rule: rule.clone(), seq: *seq, event: event.clone(), to };
            if self.alarms.messenger.send(errand) {
                self.alarms.out.insert(name);
            } else {
                let again = self.alarms.again.entry(name).or_insert(Again { at: None, failures: 0 });
                again.at = Some(Instant::now() + FIRST_WAIT);
            }
        }
    }

    /// Whom an alert tells: whom it names, else whom the flags name.
    fn receivers(&self, alert: &Alert) -> Vec<Receiver> {
        let names_nobody = alert.command.is_empty() && alert.webhook.is_none();
        let (command, webhook) = if names_nobody {
            (&self.options.receivers.command, &self.options.receivers.webhook)
        } else {
            (&alert.command, &alert.webhook)
        };
        let command = Some(command).filter(|command| !command.is_empty()).cloned().map(Receiver::Command);
        command.into_iter().chain(webhook.clone().map(Receiver::Webhook)).collect()
    }

    /// Notes what became of an errand.
    pub(super) fn delivered(&mut self, Delivered { run, rule, seq, way, result }: Delivered) {
        let name = (run, rule.clone(), way);
        self.alarms.out.remove(&name);
        if let Err(reason) = result {
            let again = self.alarms.again.entry(name).or_insert(Again { at: None, failures: 0 });
            let what = if way == 1 { "command" } else { "webhook" };
            if again.failures == 0 {
                warn!("the {what} of an alert failed: {reason}; trying again (said once)");
            } else {
                debug!("the {what} of an alert failed again: {reason}");
            }
            let wait = FIRST_WAIT.saturating_mul(2u32.saturating_pow(again.failures)).min(LONGEST_WAIT);
            again.at = Some(Instant::now() + wait);
            again.failures = again.failures.saturating_add(1);
        } else {
            self.alarms.again.remove(&name);
            *self.alarms.unnoted.entry(seq).or_default() |= way;
            if let Err(error) = self.journal.set_alert_told(run, seq, way) {
                self.stalled(&error);
            }
        }
        self.tell_alerts(run, &self.alerts_of(run).unwrap_or_default());
    }

    /// Looks at the alerts whose time has come; gives when that is next.
    pub(super) fn work_on_alerts(&mut self) -> Option<Instant> {
        let present = now();
        let due: Vec<_> = self.alarms.due.iter().filter(|(_, due)| **due <= present).map(|(id, _)| *id).collect();
        for id in due {
            self.alarms.due.remove(&id);
            self.look_at_alerts(id);
        }
        let mut ripe = HashSet::new();
        for ((id, ..), again) in &mut self.alarms.again {
            if again.at.is_some_and(|at| at <= Instant::now()) {
                again.at = None;
                ripe.insert(*id);
            }
        }
        for id in ripe {
            self.tell_alerts(id, &self.alerts_of(id).unwrap_or_default());
        }
        let wait = |due: i64| Instant::now() + Duration::from_millis((due - now()).max(0) as u64);
        let next = self.alarms.due.values().min().map(|due| wait(*due));
        next.into_iter().chain(self.alarms.again.values().filter_map(|again| again.at)).min()
    }
}
