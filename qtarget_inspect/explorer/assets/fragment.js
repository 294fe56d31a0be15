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

/**
 * A spec as {name, parameters}; null where there is no such loss. Values outside a slider's reach are left out.
 * @param {string[]} missed takes a word on all that the page cannot show
 */
function chosenFrom(spec, missed) {
  const whole = lossNamed(spec); // a user's loss may be called "name(parameter=1)"
  if (whole) return { name: whole.name, parameters: {} };
  const [, name, inside] = spec.match(/^([^(]*)(?:\((.*)\))?$/s) ?? [];
  const loss = lossNamed(name) ?? lossNamed(name?.toLowerCase());
  if (!loss) {
    missed.push(`${spec} is no loss of this page`);
    return null;
  }
  const parameters = {};
  for (const pair of (inside ?? "").split(",").filter(Boolean)) {
    const [key, value] = pair.split("=").map((part) => part.trim());
    const known = loss.parameters.find((one) => one.name === key);
    const number = Number(value);
    if (!known) missed.push(`${name} has no ${key}`);
    else if (value && number >= known.steps[0] && number <= known.steps.at(-1)) parameters[key] = number;
    else missed.push(`${key}=${value} is not between ${known.steps[0]} and ${known.steps.at(-1)}`);
  }
  return { name: loss.name, parameters };
}

const nearest = (values, number) =>
  values.reduce((best, one) => (Math.abs(one - number) < Math.abs(best - number) ? one : best));

/** Whether a number, as a link may round it, lies between the ends of a slider. */
const isReached = (values, number) => {
  const near = 1e-3 * Math.abs(number);
  return number >= values[0] - near && number <= values.at(-1) + near;
};

/**
 * The state that a fragment says; what it does not say, or says wrongly, is as at first.
 * @param {string[]} [missed] takes a word on all that it says and the page cannot show
 */
function stateFrom(fragment, missed = []) {
  const app = firstState();
  for (const part of fragment.replace(/^#/, "").split("&").filter(Boolean)) {
    const [key, ...rest] = part.split("=");
    let value = rest.join("=");
    try {
      value = decodeURIComponent(value);
    } catch {
      missed.push(`${part} cannot be read`); // half a percent sign
      continue;
    }
    if (key === "losses") {
      const asked = splitSpecs(value).map((spec) => chosenFrom(spec, missed));
      const chosen = asked.filter(Boolean);
      const names = chosen.map(specOf);
      const different = chosen.filter((_, k) => names.indexOf(names[k]) === k);
      app.chosen = different.slice(0, DATA.mostChosen);
      const beyond = different.slice(DATA.mostChosen).map(specOf);
      if (beyond.length) missed.push(`${DATA.mostChosen} losses are shown at once, not ${beyond.join(", ")} as well`);
    } else if (Object.hasOwn(DATA.positions, key) && value !== "" && Number.isFinite(Number(value))) {
      app.at[key] = nearest(DATA.positions[key], Number(value));
      if (!isReached(DATA.positions[key], Number(value))) missed.push(`${key}=${value} is beyond its slider`);
    } else if (Object.hasOwn(CHOICES, key) && CHOICES[key].includes(value)) app[key] = value;
    else if (key === "lecture" && (value === "0" || value === "1")) app.lecture = value === "1";
    else missed.push(`${part} says nothing here`);
  }
  return app;
}
