// Draws every figure of the page when it comes near the window, and all of them before printing.
(() => {
  const draw = (plot) => {
    const source = plot.querySelector('script[type="application/json"]');
    if (!source) return;
    const figure = JSON.parse(source.textContent);
    source.remove();
    figure.layout.autosize = true;
    delete figure.layout.width;
    Plotly.newPlot(plot, figure.data, figure.layout, {
      responsive: true,
      displaylogo: false,
      // Named one by one: among plotly.js's own choice is a button that sends the figure's data to a server.
      modeBarButtons: [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
      toImageButtonOptions: { format: "svg" },
    });
  };
  const plots = document.querySelectorAll(".plot");
  const drawAll = () => plots.forEach(draw);
  if ("IntersectionObserver" in window) {
    const observer = new IntersectionObserver(
      (entries) =>
        entries.filter((entry) => entry.isIntersecting).forEach((entry) => {
          observer.unobserve(entry.target);
          draw(entry.target);
        }),
      { rootMargin: "800px" },
    );
    plots.forEach((plot) => observer.observe(plot));
  } else {
    drawAll();
  }
  window.addEventListener("beforeprint", drawAll);
})();
