// Python: code that gives the page's numbers again, with qtarget_inspect.

const CONTEXT_OF_AXIS = {
  teacher: "teacher_logits",
  reference: "reference_logits",
  old: "old_logits",
  advantage: "advantages",
  critical: "critical",
};

/** A loss as Python names it; a user's own as FILE.py:NAME. */
const pythonSpec = (one) => JSON.stringify(one.loss.own ? one.loss.name : one.spec);

/** The reading, or None for a loss whose gamma no known pulls fix: Python would fit some where the page shows a dash. */
function pythonReading({ loss, worked, now, gauge }, { reading }) {
  const wantsPulls = reading === "attractor" || gauge === "normalized";
  const unnamed = loss.own && worked && wantsPulls && !Number.isFinite(now.gamma);
  return unnamed ? "None" : JSON.stringify(reading);
}

/** Python's way to write a list of numbers with all their digits, a few a line. */
function pythonNumbers(values, indent) {
  const lines = [];
  for (let k = 0; k < values.length; k += 4)
    lines.push(
      values
        .slice(k, k + 4)
        .map(String)
        .join(", "),
    );
  return `[${lines.join(`,\n${" ".repeat(indent)}`)}]`;
}

const UNNAMED = [
  "    if reading is None:  # no known pulls explain Q: gamma and residual are undefined",
  '        print(f"{loss}: gamma undefined ({gauge} gauge)")',
  '        print("  Q       ", told(target.q[0]) if gauge == "unit" else "undefined")',
  '        print("  residual", "undefined")',
  "        continue",
];

/** The program: the token's logits written out, then one line a loss. */
function pythonOf(app, view) {
  const token = tokenAt(app.at, SIZE);
  const axes = new Set(view.losses.flatMap((one) => one.loss.axes));
  const needs = new Set([...axes].map((axis) => CONTEXT_OF_AXIS[axis]).filter(Boolean));
  const row = (values) => `torch.tensor([${pythonNumbers(values, 8)}], dtype=torch.float64)`;
  const context = [];
  for (const [axis, name] of Object.entries(CONTEXT_OF_AXIS)) {
    if (!needs.has(name)) continue;
    if (name.endsWith("_logits")) context.push(`    ${name}=${row(token[axis])},`);
    else
      context.push(
        `    ${name}=torch.tensor([${axis === "critical" ? (token.critical ? "True" : "False") : token.advantage}]),`,
      );
  }
  const readings = view.losses.map((one) => pythonReading(one, app));
  const losses = view.losses.map((one, k) => `    (${pythonSpec(one)}, ${JSON.stringify(one.gauge)}, ${readings[k]}),`);
  return [
    "import torch",
    "",
    "import qtarget_inspect as qt",
    "",
    `tokens = ${JSON.stringify(DATA.tokens)}  # the first is the label`,
    "batch = qt.TokenBatch(",
    `    ${row(token.logits)},`,
    "    torch.tensor([0]),",
    ...context,
    "    weights=torch.tensor([1.0], dtype=torch.float64),",
    "    sequence_ids=torch.tensor([0]),",
    ")",
    "losses = [",
    ...losses,
    "]",
    "",
    "",
    "def told(values):",
    '    """Six digits each; NaN is what is undefined."""',
    '    return "undefined" if values.isnan().all() else " ".join(f"{round(x, 6) + 0:.6f}" for x in values.tolist())',
    "",
    "",
    "for loss, gauge, reading in losses:",
    '    target = qt.invert(loss, batch, method="torch.func")',
    ...(readings.includes("None") ? UNNAMED : []),
    "    seen = qt.decompose(target, gauge=gauge, reading=reading)",
    '    print(f"{loss}: gamma {told(seen.gamma)} ({seen.gauge} gauge, {seen.reading} reading)")',
    '    print("  Q       ", told(seen.q[0]))',
    '    print("  residual", told(seen.residual[0]))',
    "",
  ].join("\n");
}
