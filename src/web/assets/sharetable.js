// Shares with bars of their quota, and who works on whose.

import { amount, el, empty, link, sharePath, table } from "./format.js";

/** Shares with bars on one scale per unit, so that bars can be compared. */
export function shareRows(rows) {
  if (rows.length === 0) return empty("No shares.");
  const scales = new Map();
  for (const row of rows) scales.set(row.unit, Math.max(scales.get(row.unit) ?? 0, row.used, row.quota ?? 0));
  const pieces = ["own", "free", "lent", "borrowed"].map((name) => el("li", {}, el("span", { class: `swatch ${name}`, "aria-hidden": "true" }), name));
  const legend = el("ul", { class: "key" }, ...pieces, el("li", {}, el("span", { class: "swatch mark", "aria-hidden": "true" }), "quota"));
  return el("div", {}, legend, table("Shares: quota, used, borrowed and lent", [
    { title: "Share", cell: (row) => (row.share ? link(sharePath(row.queue, row.share, row), row.share) : "no share") },
    { title: "Unit", cell: (row) => (row.unit === "NUM_INSTANCES" ? "any instance" : row.unit) },
    { title: "Capacity", cell: (row) => shareBar(row, scales.get(row.unit)) },
    { title: "Used", number: true, cell: (row) => amount(row.used) },
    { title: "Quota", number: true, cell: (row) => amount(row.quota) },
    { title: "Borrowed", number: true, cell: (row) => amount(row.borrowed) },
    { title: "Lent", number: true, cell: (row) => amount(row.lent) },
    { title: "Maximum", number: true, cell: (row) => amount(row.most) },
    { title: "Entitlement, GPUs", number: true, cell: (row) => amount(row.target_gpus === null ? null : Math.round(row.target_gpus * 10) / 10) },
  ], rows));
}

/** Within the quota: own, free, lent; beyond its mark: borrowed. */
function shareBar({ quota, used, borrowed, lent }, scale) {
  const own = used - borrowed;
  const free = Math.max(0, (quota ?? own) - own - lent);
  const words = `own ${amount(own)}, free ${amount(free)}, lent ${amount(lent)}, borrowed ${amount(borrowed)}`;
  const bar = el("span", { class: "share-bar", role: "img", "aria-label": words, title: words });
  const add = (size, name) => {
    if (size <= 0) return;
    const piece = el("span", { class: name });
    piece.style.width = `${(100 * size) / (scale || 1)}%`;
    bar.append(piece);
  };
  add(own, "own");
  add(free, "free");
  add(lent, "lent");
  if (quota !== null && quota > 0) bar.append(el("span", { class: "mark" }));
  add(borrowed, "borrowed");
  return bar;
}

/** Which share works on whose quota. */
export function loans(rows) {
  return table("GPUs by lender and borrower", [
    { title: "Quota of", cell: (row) => link(sharePath(row.queue, row.lender, row), row.lender) },
    { title: "Used by", cell: (row) => link(sharePath(row.queue, row.borrower, row), row.borrower) },
    { title: "GPUs now", number: true, cell: (row) => amount(row.gpus) },
    { title: "GPU-hours so far", number: true, cell: (row) => amount(Math.round(row.gpu_hours * 10) / 10) },
  ], rows);
}
