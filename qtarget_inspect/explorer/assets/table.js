// Table: the row of each loss, the numbers over the tokens, and both in sentences for those who cannot see figures.

/** An element with text and attributes. */
function element(name, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes))
    if (value !== false) made.setAttribute(key, value === true ? "" : value);
  made.append(...children);
  return made;
}

/** A formula with its indices and exponents set as such: p_y^0.5. */
function formula(text) {
  const parts = text.split(/(?<=\b(?:p|z|q|w|c|H|Q|ref|old|teacher))_([ykt]|\d+)\b|\^(\([^()]*\)|-?[\w.]+)/);
  return parts.flatMap((part, k) =>
    part === undefined ? [] : k % 3 === 0 ? [part] : [element(k % 3 === 1 ? "sub" : "sup", { text: part })],
  );
}

const WORDY = new Set(["loss", "category", "γ, the law", "residual"]);
const COLUMNS = [
  ["loss", (one) => one.title], // plain: a name is no formula
  ["category", (one) => one.loss.category || "–"],
  ["gauge", (one) => one.gauge],
  ["reading", (one) => one.now.reading],
  ["γ, the law", (one) => one.law],
  ["γ now", (one) => shown(one.now.gamma, 3, one.now.noise.gamma)],
  ["residual", (one) => one.residualWords],
  ["Q on the label", (one) => shown(one.now.q[0], 3, one.now.noise.q)],
  ["mass", (one) => shown(one.now.mass, 3, one.now.noise.q)],
  ["negative mass", (one) => shown(one.now.negative, 3, one.now.noise.q)],
  ["TV(Q, p)", (one) => shown(one.now.variation, 3, one.now.noise.q)],
  ["KL(Q‖p), nats", (one) => shown(one.now.divergence, 3, one.now.noise.q)],
];

/** The row of the table for each loss. */
function fillTable(view) {
  // the roles say what is a table also where the style folds it into cards
  const names = COLUMNS.map(([text]) => element("th", { text, scope: "col", role: "columnheader" }));
  const head = element("tr", { role: "row" }, ...names);
  const rows = view.losses.map((one) => {
    const cells = COLUMNS.map(([name, value], k) => {
      const head = k ? { role: "cell" } : { role: "rowheader", scope: "row" };
      const given = { ...head, "data-label": name, class: WORDY.has(name) ? false : "short" };
      return element(k ? "td" : "th", given, element("span", {}, ...(k ? formula(value(one)) : [value(one)])));
    });
    cells[0].style.color = one.textColour;
    return element("tr", { role: "row" }, ...cells);
  });
  const notes = view.losses
    .filter((one) => one.note)
    .map((one) => element("p", { class: "hint", text: `${one.title}: ${one.note}` }));
  const [top, body] = [element("thead", { role: "rowgroup" }, head), element("tbody", { role: "rowgroup" }, ...rows)];
  const table = element("table", { role: "table" }, top, body);
  document.getElementById("table").replaceChildren(table, ...notes);
}

/** p, Q and residual over the tokens; the bars as text. */
function fillNumbers(view) {
  const names = view.losses.flatMap((one) => [`Q, ${one.title}`, `residual, ${one.title}`]);
  const head = element("tr", {}, ...["token", "p", ...names].map((text) => element("th", { text, scope: "col" })));
  const rows = DATA.tokens.map((token, k) => {
    const values = view.losses.flatMap(({ now }) => [
      [now.q[k], now.noise.q],
      [now.residual[k], now.noise.residual],
    ]);
    const cells = [[view.now.p[k], 0], ...values].map(([value, noise]) =>
      element("td", { text: shown(value, 4, noise) }),
    );
    return element("tr", {}, element("th", { text: k ? token : `${token} (label)`, scope: "row" }), ...cells);
  });
  const table = element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows));
  document.getElementById("bars-numbers").replaceChildren(table);
}

/** The numbers in a sentence each. */
function sentences(view) {
  const [label] = DATA.tokens;
  const found = view.losses.map((one) => {
    const negative = one.now.negative > 5e-4 ? `, negative mass ${shown(one.now.negative)}` : "";
    const gamma = Number.isFinite(one.now.gamma) ? shown(one.now.gamma, 3, one.now.noise.gamma) : "undefined";
    const trust = `label trust ${gamma} in the ${one.gauge} gauge, ${one.now.reading} reading`;
    return `${one.title}: ${trust}; Q of ${label} ${shown(one.now.q[0], 3, one.now.noise.q)}${negative}.`;
  });
  return [`The model gives ${label} ${shownProbability(view.now.pLabel)}.`, ...found].join(" ");
}

/** Text alternatives of the figures. */
function describeFigures(view) {
  const [, other] = DATA.tokens;
  const names = view.losses.map((one) => one.title).join(", ") || "no loss chosen";
  const trusts = view.losses.map(({ title, law, gauge, now }) => {
    return `${title}, ${law}, now ${shown(now.gamma, 3, now.noise.gamma)} (${gauge} gauge)`;
  });
  const gradients = view.losses.map(({ title, now }) => {
    const [onLabel, onOther] = [now.g[0], now.g[1]].map((g) => shown(g, 3, now.noise.q));
    return `${title} ${onLabel} on the label, ${onOther} on ${other}`;
  });
  const texts = {
    bars: `Bars of p, Q and residual over ${SIZE} tokens: ${names}. ${sentences(view)} All numbers are below.`,
    gamma: `Label trust against p_y: ${trusts.join("; ")}.`,
    gradient: `Gradient against p_y, now: ${gradients.join("; ")}.`,
    triangle: `Flow of gradient descent on the simplex of ${DATA.tokens.slice(0, 3).join(", ")}: ${names}.`,
  };
  for (const [id, text] of Object.entries(texts)) document.getElementById(id).setAttribute("aria-label", text);
}
