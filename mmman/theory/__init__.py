"""The paper's equations, schedules of several devices, and Table VIII."""
