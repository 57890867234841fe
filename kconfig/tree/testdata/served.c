// SPDX-License-Identifier: GPL-3.0-only
//
// Linked with conf's sources, of which conf.c has its main() renamed to conf_main()
// and its conf_parse() to already_parsed(), this makes a conf that reads the
// Kconfig files once and then answers requests, each in a process of its own. A
// request is a line: a directory, the number of variables, the variables and the
// arguments, with tabs between. conf runs in the directory, where it leaves what it
// prints in the files stdout and stderr. Its exit status is the answer.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAX_ARGUMENTS = 16 };

int conf_main(int argc, char **argv);
void conf_parse(const char *name);

void already_parsed(const char *name) { (void)name; }

static int answer(char *request)
{
	char *argv[MAX_ARGUMENTS] = {"conf"};
	int argc = 1;

	if (chdir(strtok(request, "\t")))
		return 126;
	for (int n = atoi(strtok(NULL, "\t")); n > 0; n--)
		putenv(strtok(NULL, "\t"));
	while (argc < MAX_ARGUMENTS - 1 && (argv[argc] = strtok(NULL, "\t")))
		argc++;
	if (!freopen("stdout", "w", stdout) || !freopen("stderr", "w", stderr))
		return 126;
	return conf_main(argc, argv);
}

int main(void)
{
	char *line = NULL;
	size_t size = 0;
	ssize_t length;
	int status;

	conf_parse("Kconfig");
	puts("ready");
	fflush(stdout);
	while ((length = getline(&line, &size, stdin)) > 0) {
		line[length - 1] = 0;
		pid_t pid = fork();
		if (pid == 0)
			exit(answer(line));
		if (pid < 0 || waitpid(pid, &status, 0) < 0)
			return 1;
		printf("%d\n", WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
		fflush(stdout);
	}
	return 0;
}
