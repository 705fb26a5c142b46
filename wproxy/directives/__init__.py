"""The tables of directives, a file for each nginx module. To add a directive, add a row; see `wproxy.config.registry`."""
