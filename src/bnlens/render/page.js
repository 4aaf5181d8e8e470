// Draws every figure of the page when it comes near the window, and all of them before printing. What is put into the page
// later is drawn by bnlens.drawFigures(element).
(() => {
  const [NARROW, LINE] = [600, 20]; // pixels: a figure in which each entry of the legend has a line of its own, and that line
  const draw = (plot) => {
    const source = plot.querySelector('script[type="application/json"]');
    if (!source) return;
    const figure = JSON.parse(source.textContent);
    source.remove();
    figure.layout.autosize = true;
    delete figure.layout.width;
    delete figure.layout.height; // the element has it
    const size = Number(getComputedStyle(plot).getPropertyValue("--figure-font")); // pixels, where a page has a small place
    if (size) {
      figure.layout.font = { ...figure.layout.font, size };
      figure.layout.legend = { ...figure.layout.legend, font: { size } };
      figure.layout.margin = { ...figure.layout.margin, l: 40, r: 12 };
    } else if (plot.clientWidth < NARROW) {
      const entries = new Set(figure.data.filter((trace) => trace.showlegend !== false).map((trace) => trace.legendgroup ?? trace.name));
      plot.style.height = `${plot.clientHeight + LINE * Math.max(0, entries.size - 2)}px`;
    }
    Plotly.newPlot(plot, figure.data, figure.layout, {
      responsive: true,
      displaylogo: false,
      // Named one by one: among plotly.js's own choice is a button that sends the figure's data to a server.
      modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
      toImageButtonOptions: { format: "svg" },
    });
  };
  const observer =
    "IntersectionObserver" in window &&
    new IntersectionObserver(
      (entries) =>
        entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
          observer.unobserve(entry.target);
          draw(entry.target);
        }),
      { rootMargin: "800px" },
    );
  const drawFigures = (root) => root.querySelectorAll(".plot").forEach((plot) => (observer ? observer.observe(plot) : draw(plot)));
  const drawAll = () => document.querySelectorAll(".plot").forEach(draw);
  window.bnlens = { drawFigures };
  drawFigures(document);
  window.addEventListener("beforeprint", drawAll);
})();
