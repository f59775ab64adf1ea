// Watches what a page paints after a key press on a slider: press, wait until `bench.quiet()`, then
// read `bench.report()`.
//
// A chart counts as painted in the frame that follows the first change of its drawing: a path, a
// bar, a point, a text. Hover effects and the fading of stale elements are styles and do not count.
window.bench = (() => {
  const DRAWN = ["d", "transform", "points", "x", "y", "width", "height", "cx", "cy", "r"];
  let pressed = null;
  let painted = new Map();
  let lastChange = 0;

  const target = (node) => {
    const element = node.nodeType === Node.ELEMENT_NODE ? node : node.parentElement;
    // The buttons above a chart are rebuilt at will; only the drawing itself counts.
    const drawing = element?.closest("svg.main-svg, [data-testid=stMetricValue]");
    return drawing?.closest(".js-plotly-plot, [data-testid=stMetricValue]") ?? null;
  };
  const visible = (element) => element.getClientRects().length > 0;
  const kind = (element) => (element.matches(".js-plotly-plot") ? "chart" : "figure");

  const note = (element) => {
    if (pressed === null || !element) return;
    lastChange = performance.now();
    // One press changes thousands of nodes: what is asked of each must not cost a layout.
    if (painted.has(element)) return;
    painted.set(element, null);
    // The message arrives after the frame has been painted, the callback itself before.
    requestAnimationFrame(() => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => painted.set(element, performance.now());
      channel.port2.postMessage(null);
    });
  };

  new MutationObserver((records) => {
    for (const record of records) {
      if (record.type === "attributes") {
        note(target(record.target));
      } else {
        note(target(record.target));
        for (const node of record.addedNodes) {
          if (node.nodeType !== Node.ELEMENT_NODE) continue;
          node.querySelectorAll(".js-plotly-plot, [data-testid=stMetricValue]").forEach(note);
        }
      }
    }
  }).observe(document.body, {
    attributes: true,
    attributeFilter: DRAWN,
    characterData: true,
    childList: true,
    subtree: true,
  });

  document.addEventListener(
    "keydown",
    (event) => {
      pressed = event.timeStamp;
      painted = new Map();
      lastChange = performance.now();
    },
    true,
  );

  return {
    quiet: () => pressed !== null && performance.now() - lastChange > 250,
    report: () => {
      const seen = [...painted].filter(([element]) => visible(element));
      const latest = (wanted) => {
        const times = seen.filter(([element]) => kind(element) === wanted).map(([, t]) => t);
        return times.length ? Math.max(...times) - pressed : null;
      };
      const shown = [...document.querySelectorAll(".js-plotly-plot")].filter(visible).length;
      const changed = seen.filter(([element]) => kind(element) === "chart").length;
      const result = { chart_ms: latest("chart"), figure_ms: latest("figure"), shown, changed };
      pressed = null;
      return result;
    },
  };
})();
