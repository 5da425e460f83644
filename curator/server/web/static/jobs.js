// Show the progress of running jobs from their events. When a job ends, reload the page to show its result.
for (const line of document.querySelectorAll('[data-job][data-status="running"]')) {
  const events = new EventSource(`/api/v1/jobs/${line.dataset.job}/events`);
  const bar = line.querySelector("progress");
  const how = line.querySelector("[data-how]");
  events.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    if (job.status !== "running") {
      events.close();
      location.replace("/jobs");
      return;
    }
    if (job.total) {
      bar.max = job.total;
      bar.value = job.done;
    }
    const of = job.total === null ? "" : ` of ${job.total.toLocaleString("en")}`;
    how.textContent = job.stage ? `${job.stage}: ${job.done.toLocaleString("en")}${of} ${job.detail}` : "";
  });
}
