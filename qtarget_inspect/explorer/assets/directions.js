// Directions: where a pull leads. Toward b: d = p - b; tilt by a score s: d = p (s - E_p s); nowhere: d = p.

const MODEL_WORDS = { p: "p", reference: "reference", teacher: "teacher", old: "old policy" };
const softmaxOf = (logits) => logSoftmax(logits).map(Math.exp);
const toward = (name, text, rows) => ({ kind: "toward", name, text, rows });
const tilt = (text, rows) => ({ kind: "tilt", name: text, text, rows });
const logProbs = (state, model) => (model === "p" ? state.logP : state[model].logP);

/** Toward another model at a temperature. */
function contextModel(model, temperature) {
  const words = MODEL_WORDS[model];
  const text = temperature === 1 ? words : `${words}^(1/${rounded(temperature)})`;
  const rows = (s) => (temperature === 1 ? s[model].p : softmaxOf(s[model].logP.map((x) => x / temperature)));
  return toward(temperature === 1 ? model : text, text, rows);
}

/** The directions by name; each takes its arguments. */
const DIRECTIONS = {
  label: () => toward("label", "onehot(y)", (s) => s.p.map((_, k) => Number(k === s.label))),
  uniform: () => toward("uniform", "uniform", (s) => s.p.map(() => 1 / s.size)),
  reference: () => contextModel("reference", 1),
  teacher: (temperature) => contextModel("teacher", temperature),
  old_policy: () => contextModel("old", 1),
  /** A power of the model, p^a / Z. */
  power: (a) => toward(`p^${rounded(a)}`, `p^${rounded(a)} / Z`, (s) => softmaxOf(s.logP.map((x) => a * x))),
  /** A point on the geometric path from the model to the teacher. */
  path(eta) {
    const text = `p^${rounded(1 - eta)} teacher^${rounded(eta)} / Z`;
    const rows = (s) => softmaxOf(s.logP.map((x, k) => (1 - eta) * x + eta * s.teacher.logP[k]));
    return toward(`path(${rounded(eta)} to teacher)`, text, rows);
  },
  /** The model without the label, renormalised. */
  others: () =>
    toward("others", "p without y", (s) => softmaxOf(s.logits.map((z, k) => (k === s.label ? -Infinity : z)))),
  /** The teacher's top k, renormalised. */
  top_k(k) {
    const rows = (s) => {
      const kept = new Set(topTokens(s.teacher.logP, k));
      return softmaxOf(s.teacher.logP.map((x, index) => (kept.has(index) ? x : -Infinity)));
    };
    return toward(`top_${k} of teacher`, `top ${k} of teacher`, rows);
  },
  /** The model's power that leans to tokens likelier than the label. */
  weighted_power(a, scale) {
    const rows = (s) => {
      const weights = leaning(s, a, scale);
      const total = weights.reduce((x, y) => x + y);
      return weights.map((weight) => weight / total);
    };
    const name = `p^${rounded(a)} sigmoid(${rounded(scale)}`;
    return toward(`${name})`, `${name} (z - z_y)) / Z`, rows);
  },
  tilt: (model) => tilt(`tilt by log ${MODEL_WORDS[model]}`, (s) => logProbs(s, model)),
  /** By the log of a mixture with the teacher. */
  mixture_tilt(share) {
    const rows = (s) => s.p.map((p, k) => Math.log(share * s.teacher.p[k] + (1 - share) * p));
    return tilt(`tilt by log(${rounded(share)} teacher + ${rounded(1 - share)} p)`, rows);
  },
  sign_tilt: () => tilt("tilt by sign(p - teacher)", (s) => s.p.map((p, k) => Math.sign(p - s.teacher.p[k]))),
  nowhere: () => ({ kind: "nowhere", name: "nowhere", text: "nowhere", rows: null }),
};

/** What one unit of a pull adds to the logit gradient, V numbers. */
function directionGradient(direction, state) {
  if (direction.kind === "nowhere") return [...state.p];
  if (direction.name === "label") return state.p.map((p, k) => (k === state.label ? -state.rest : p));
  const rows = direction.rows(state);
  if (direction.kind === "toward") return state.p.map((p, k) => p - rows[k]);
  const mean = state.p.reduce((sum, p, k) => sum + p * rows[k], 0);
  return state.p.map((p, k) => p * (rows[k] - mean));
}
