"""Charts of a soak test's samples, as one SVG."""

CHARTS = [
    ("memory_mib", "Resident memory of the service, MiB"),
    ("open_files", "Open files"),
    ("state_mib", "State file, MiB"),
    ("log_mib", "Log of the replicas, MiB"),
    ("jobs_tracked", "Jobs in memory"),
    ("cpu_seconds", "CPU seconds of the service in a simulated hour"),
    ("metrics_ms", "Milliseconds until /metrics has answered"),
    ("poll_interval", "Simulated seconds between two polls"),
    ("archive_mib", "Archive, MiB"),
    ("simulator_mib", "Resident memory of the simulator, which forgets no job, MiB"),
]
HEIGHT = 125


def chart(samples, key, top, title):
    """One line over the days, from zero up."""
    points = [(row["day"], row[key]) for row in samples if row.get(key) is not None]
    if not points:
        return ""
    days, most = max(1, samples[-1]["day"]), max(value for _, value in points) * 1.1 or 1
    at = lambda day, value: f"{60 + day / days * 760:.1f} {top + 90 - value / most * 80:.1f}"
    line = "M" + "L".join(at(day, value) for day, value in points)
    axis = "".join(f'<text x="{60 + day / days * 760:.0f}" y="{top + 103}" fill="#888">{day}</text>' for day in range(0, int(days) + 1, max(1, int(days) // 10)))
    return (
        f'<text x="60" y="{top}" fill="#222">{title}: at most {max(value for _, value in points):,.1f}, in the end {points[-1][1]:,.1f}</text>\n'
        f'<path d="M60 {top + 90}H820" stroke="#ddd"/>{axis}<path d="{line}" fill="none" stroke="#2563eb" stroke-width="1.5"/>\n'
    )


def svg(samples, title):
    """Only charts that have values."""
    known = [(key, name) for key, name in CHARTS if any(row.get(key) is not None for row in samples)]
    body = "".join(chart(samples, key, 60 + HEIGHT * row, name) for row, (key, name) in enumerate(known))
    height = 60 + HEIGHT * len(known)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="860" height="{height}" fill="#fff"/>\n<text x="60" y="28" font-size="14" fill="#222">{title}</text>\n{body}</svg>\n'
    )
