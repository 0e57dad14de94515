// What the service's codes are called on pages.

/** Words, and a colour that is the same in all charts: a variable of the style sheet. */
const REASONS = {
  misconfigured: ["Misconfigured", "--bad"],
  disabled: ["Queue or share disabled", "--unknown"],
  exceeds_share: ["Larger than its share can ever get", "--warn"],
  share_at_limit: ["Share at its limit", "--series-1"],
  borrow_limit: ["Share at its borrow limit", "--series-6"],
  reclaiming: ["Lent capacity being reclaimed", "--series-2"],
  no_capacity: ["AWS has no instances", "--series-3"],
  capacity_in_use: ["All capacity in use", "--series-4"],
  reserved: ["Free capacity reserved for other shares", "--series-7"],
  behind: ["Behind others", "--series-8"],
  evaluating: ["Next to be placed", "--series-5"],
};

const CAUSES = {
  provider_has_none: "AWS has none",
  quota_bound: "held back by quota",
  shape_does_not_fit: "no waiting job fits",
  being_placed: "being placed",
  no_demand: "no demand",
};

const CATEGORIES = {
  capacity: ["No capacity", "Capacity planning"],
  preempted: ["Preempted too often", "The owner, or the administrator of the shares"],
  sagemaker_internal: ["SageMaker internal error", "AWS; submit again"],
  misconfiguration: ["Misconfiguration", "The person who configured the job or the queue"],
  timed_out: ["Ran into a time limit", "The owner"],
  terminated: ["Terminated by a user", "The user who terminated it"],
  user_code: ["The job's own code", "The owner"],
  account_quota: ["Account quota", "The administrator of AWS quotas"],
};

const ENDINGS = {
  recovered: "the condition no longer holds",
  gone: "its subject no longer exists",
  no_data: "there is no more data",
  rule_removed: "its rule was removed or changed",
  target_removed: "target removed: its account and region are no longer monitored",
};

/** Job states in the order in which a job passes through them. */
export const STATES = ["submitted", "pending", "runnable", "scheduled", "starting", "running", "succeeded", "failed"];
export const WAITING = ["submitted", "pending", "runnable"];

export const REASON_CODES = Object.keys(REASONS);

const plain = (code) => code.replaceAll("_", " ").replace(/^./, (first) => first.toUpperCase());

export const reasonWords = (code) => REASONS[code]?.[0] ?? plain(code);
export const reasonColour = (code) => REASONS[code]?.[1] ?? "--unallocated";
export const causeWords = (code) => CAUSES[code] ?? code.replaceAll("_", " ");
export const categoryWords = (code) => CATEGORIES[code]?.[0] ?? plain(code);
export const whoCanFix = (code) => CATEGORIES[code]?.[1] ?? "Not known";
export const endingWords = (code) => ENDINGS[code] ?? plain(code).toLowerCase();

/** How bad a severity is: the higher the worse. Words that nobody knows count as a warning, as in notifications. */
export function severityRank(severity) {
  if (severity === "page" || severity === "critical") return 3;
  if (severity === "info" || severity === "low" || severity === "none") return 1;
  return 2;
}

/** Alerts with the worst first: those that fire, by severity before age; then pending ones; then those that ended, the latest first. */
export function worstFirst(alerts) {
  const order = { firing: 0, pending: 1, resolved: 2 };
  const key = (alert) => [
    order[alert.state] ?? 3,
    alert.state === "resolved" ? 0 : -severityRank(alert.labels.severity ?? ""),
    alert.state === "resolved" ? -Date.parse(alert.resolved_at) : Date.parse(alert.fired_at ?? alert.active_at),
  ];
  return [...alerts].sort((a, b) => {
    const [ka, kb] = [key(a), key(b)];
    const at = ka.findIndex((part, index) => part !== kb[index]);
    return at === -1 ? 0 : ka[at] - kb[at];
  });
}
