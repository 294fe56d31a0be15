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
  const losses = view.losses.map((one) => `    (${pythonSpec(one)}, ${JSON.stringify(one.gauge)}),`);
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
    "for loss, gauge in losses:",
    '    target = qt.invert(loss, batch, method="torch.func")',
    `    seen = qt.decompose(target, gauge=gauge, reading=${JSON.stringify(app.reading)})`,
    '    print(f"{loss}: gamma {float(seen.gamma):.6f} ({seen.gauge} gauge, {seen.reading} reading)")',
    '    print("  Q       ", *(f"{q:.6f}" for q in seen.q[0].tolist()))',
    '    print("  residual", *(f"{r:.6f}" for r in seen.residual[0].tolist()))',
    "",
  ].join("\n");
}
