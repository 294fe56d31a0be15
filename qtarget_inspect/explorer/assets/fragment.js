// Fragment: the page's whole state as readable text behind the #, and back.

const CHOICES = {
  gauge: ["natural", "unit", "normalized"],
  reading: ["attractor", "self", "label-free"],
  axis: ["linear", "log-odds"],
  theme: ["auto", "light", "dark"],
};
const AT_FIRST = { gauge: "natural", reading: "attractor", axis: "linear", theme: "auto", lecture: false };

/** The state that the page begins with. */
function firstState() {
  return {
    chosen: DATA.first.map((one) => ({ ...one, parameters: { ...one.parameters } })),
    at: { ...DATA.defaults },
    ...AT_FIRST,
  };
}

/** losses=sft,asft(kl_weight=0.1)&p=0.3&shape=1.4&... */
function fragmentOf(app) {
  const specs = app.chosen.map((one) => specOf(one).replaceAll(", ", ","));
  const numbers = Object.keys(DATA.positions).map((axis) => `${axis}=${Number(app.at[axis].toPrecision(4))}`);
  const words = Object.keys(CHOICES).map((key) => `${key}=${app[key]}`);
  return [`losses=${specs.map(encodeSpec).join(",")}`, ...numbers, ...words, `lecture=${Number(app.lecture)}`].join(
    "&",
  );
}

/** Names may hold what a fragment may not; parentheses, commas and = stay as they are, to be read. */
const encodeSpec = (spec) =>
  encodeURIComponent(spec).replaceAll("%2C", ",").replaceAll("%3D", "=").replaceAll("%3A", ":");

/** Specs between commas that stand outside parentheses. */
function splitSpecs(text) {
  const found = [];
  let [depth, start] = [0, 0];
  for (let k = 0; k <= text.length; k++) {
    if (text[k] === "(") depth++;
    else if (text[k] === ")") depth--;
    if (k === text.length || (text[k] === "," && depth === 0)) {
      if (k > start) found.push(text.slice(start, k).trim());
      start = k + 1;
    }
  }
  return found;
}

/** A spec as {name, parameters}; null where there is no such loss. Values outside a slider's reach are left out. */
function chosenFrom(spec) {
  const whole = lossNamed(spec); // a user's loss may be called "name(parameter=1)"
  if (whole) return { name: whole.name, parameters: {} };
  const [, name, inside] = spec.match(/^([^(]*)(?:\((.*)\))?$/s) ?? [];
  const loss = lossNamed(name);
  if (!loss) return null;
  const parameters = {};
  for (const pair of (inside ?? "").split(",").filter(Boolean)) {
    const [key, value] = pair.split("=").map((part) => part.trim());
    const known = loss.parameters.find((one) => one.name === key);
    const number = Number(value);
    if (known && Number.isFinite(number) && number >= known.steps[0] && number <= known.steps.at(-1))
      parameters[key] = number;
  }
  return { name: loss.name, parameters };
}

const nearest = (values, number) =>
  values.reduce((best, one) => (Math.abs(one - number) < Math.abs(best - number) ? one : best));

/** The state that a fragment says; what it does not say, or says wrongly, is as at first. */
function stateFrom(fragment) {
  const app = firstState();
  for (const part of fragment.replace(/^#/, "").split("&")) {
    const [key, ...rest] = part.split("=");
    let value = rest.join("=");
    try {
      value = decodeURIComponent(value);
    } catch {
      continue; // half a percent sign
    }
    if (key === "losses") {
      const chosen = splitSpecs(value).map(chosenFrom).filter(Boolean);
      const names = chosen.map(specOf);
      app.chosen = chosen.filter((_, k) => names.indexOf(names[k]) === k).slice(0, DATA.mostChosen);
    } else if (key in DATA.positions && value !== "" && Number.isFinite(Number(value))) {
      app.at[key] = nearest(DATA.positions[key], Number(value));
    } else if (CHOICES[key]?.includes(value)) app[key] = value;
    else if (key === "lecture") app.lecture = value === "1";
  }
  return app;
}
