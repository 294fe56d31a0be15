// View: everything that is shown, computed from the page's state alone.

const DATA = JSON.parse(document.getElementById("data").textContent);
const LOSSES = [...DATA.losses, ...DATA.own.map(ownLoss)];
const bare = (name) => name?.replaceAll(" ", "");
const lossNamed = (name) => LOSSES.find((loss) => bare(loss.name) === bare(name));
const SIZE = DATA.tokens.length;
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
/** Points of the curves: between the slider's positions too. */
const CURVE = Array.from({ length: 113 }, (_, k) => sigmoid((k - 56) / 8));

/** Parameters of a chosen loss, defaults where nothing is said. */
function parametersOf(loss, given) {
  return Object.fromEntries(loss.parameters.map(({ name, default: value }) => [name, given[name] ?? value]));
}

/** "asft(kl_weight=0.1)": the loss as text, as Python takes it. */
function specOf({ name, parameters }) {
  const loss = lossNamed(name);
  const values = loss.parameters.map((one) => `${one.name}=${parameters[one.name] ?? one.default}`);
  return values.length ? `${name}(${values.join(", ")})` : name;
}

/** One chosen loss: its reading now, its curves over p_y, its row in words. */
function lossView(chosen, app, states) {
  const loss = lossNamed(chosen.name);
  const found = loss.own ? ownView(loss, app, states) : formulaView(loss, chosen, app, states);
  const other = 1; // the model's favourite among the others
  const curve = found.curve.map(({ p, read }) => ({ p, gamma: read.gamma, gLabel: read.g[0], gOther: read.g[other] }));
  return {
    loss,
    chosen,
    state: states.now,
    spec: specOf(chosen),
    worked: true,
    ...found,
    curve,
  };
}

/** "ASFT (kl_weight=0.1)": the title with the parameters that are not at their defaults, or with all of them. */
function titleOf(loss, { parameters }, all) {
  const told = loss.parameters.filter(({ name, default: value }) => all || (parameters[name] ?? value) !== value);
  const words = told.map(({ name, default: value }) => `${name}=${rounded(parameters[name] ?? value, 6)}`);
  return words.length ? `${loss.title} (${words.join(", ")})` : loss.title;
}

function formulaView(loss, chosen, app, { now, curve }) {
  const pulls = pullsOf(loss, parametersOf(loss, chosen.parameters));
  const gauge =
    app.gauge === "natural"
      ? naturalGauge(
          pulls,
          curve.map(({ state }) => state),
        )
      : app.gauge;
  const read = (state) => readTarget(pulled(pulls, state), state, gauge, app.reading);
  const states = curve.map(({ state }) => state);
  const words = {
    attractor: [gammaText(pulls, gauge, states), residualText(pulls, gauge, states)],
    self: ["g off the label / (1 − p_y)", "model"],
    "label-free": ["Q_y", "Q without y"],
  }[app.reading];
  return {
    gauge,
    law: words[0],
    residualWords: words[1],
    note: "",
    now: read(now),
    curve: curve.map(({ p, state }) => ({ p, read: read(state) })),
    pulls,
  };
}

function ownView(loss, app, { now }) {
  const worked = isWorkedOut(loss, app.at);
  const gauge = app.gauge === "natural" ? loss.gauge : app.gauge;
  const nothing = { g: new Array(SIZE).fill(NaN), trust: NaN, total: NaN, size: NaN };
  const read = (at, state) =>
    readTarget(worked ? ownPulled(loss, at, state) : nothing, state, gauge, app.reading, ROUNDING_OF_OWN);
  const sameGauge = gauge === loss.gauge ? "" : ` (in the ${loss.gauge} gauge)`;
  const words = {
    attractor: [loss.gamma + sameGauge, loss.residual + sameGauge],
    self: ["g off the label / (1 − p_y)", "model"],
    "label-free": ["Q_y", "Q without y"],
  }[app.reading];
  const held = Object.entries(loss.held)
    .map(([axis, value]) => `${SLIDERS[axis].name} ${value}`)
    .join(", ");
  return {
    gauge,
    law: words[0],
    residualWords: words[1],
    worked,
    note: worked ? loss.note : `worked out at ${held} only`,
    now: read(app.at, now),
    curve: DATA.positions.p.map((p) => {
      const at = { ...app.at, p };
      return { p, read: read(at, makeState(tokenAt(at, SIZE))) };
    }),
  };
}

/** Everything at once. */
function viewOf(app) {
  const now = makeState(tokenAt(app.at, SIZE));
  const curve = CURVE.map((p) => ({ p, state: makeState(tokenAt({ ...app.at, p }, SIZE)) }));
  const losses = app.chosen.map((chosen) => lossView(chosen, app, { now, curve }));
  for (const one of losses) {
    const isTwin = losses.filter(({ loss }) => loss === one.loss).length > 1;
    one.title = titleOf(one.loss, one.chosen, isTwin);
    one.short = isTwin ? one.title : one.loss.title; // where there is no room for the parameters
  }
  styled(losses, app);
  return { now, losses };
}

let flows = new Map();

/** Flows of the chosen losses; neither p_y nor the others' shape moves them, and they are kept until something does. */
function flowsOf(app, view) {
  const kept = new Map();
  for (const one of view.losses) {
    const at = Object.fromEntries(one.loss.axes.map((axis) => [axis, app.at[axis]]));
    const key = JSON.stringify([one.spec, at]);
    kept.set(key, flows.get(key) ?? flowFor(one, app));
    one.flow = kept.get(key);
  }
  flows = kept;
}

function flowFor(one, app) {
  if (one.loss.own) {
    const values = ownTriangle(one.loss, app.at);
    return values ? flowOf(interpolated(values), values) : { arrows: [], lines: [] };
  }
  return flowOf((p) => pulled(one.pulls, makeState(triangleToken(p, app.at))).g);
}

/** The page's token as one of three: p_y stays, the first two others share the rest as they do on the page. */
function pointOnTriangle(state) {
  const [first, second] = [state.p[1], state.p[2]];
  return [state.pLabel, (state.rest * first) / (first + second), (state.rest * second) / (first + second)];
}
