/* A risk score over private records, with private weights.
 *
 * Reads the model from /secrets/weights (lines "name weight", and "bias weight"), records from stdin as CSV with a header line
 * whose columns carry those names, and writes only aggregates: how many records, the mean score, how many are above 0.5.
 *
 * Built by build.sh; needs nothing but stdin, stdout and the secret.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS 32
#define NAME 32

static char names[COLUMNS][NAME];
static double weights[COLUMNS], bias;
static int known;

static int fail(const char *what) {
    fprintf(stderr, "risk: %s\n", what);
    return 1;
}

static int read_weights(void) {
    char name[NAME];
    double weight;
    FILE *file = fopen("/secrets/weights", "r");
    if (!file) return fail("the secret \"weights\" is missing");
    while (fscanf(file, "%31s %lf", name, &weight) == 2) {
        if (!strcmp(name, "bias")) {
            bias = weight;
        } else if (known < COLUMNS) {
            strcpy(names[known], name);
            weights[known++] = weight;
        }
    }
    fclose(file);
    return known ? 0 : fail("the secret \"weights\" holds no weights");
}

int main(void) {
    static char line[4096];
    double by_column[COLUMNS] = {0}, total = 0;
    int columns = 0, matched = 0;
    long records = 0, high = 0;
    if (read_weights()) return 1;
    if (!fgets(line, sizeof line, stdin)) return fail("no records on stdin");
    for (char *cell = strtok(line, ",\r\n"); cell && columns < COLUMNS; cell = strtok(NULL, ",\r\n"), columns++)
        for (int i = 0; i < known; i++)
            if (!strcmp(cell, names[i])) by_column[columns] = weights[i], matched++;
    if (matched != known) return fail("a weight has no column in the records");
    while (fgets(line, sizeof line, stdin)) {
        double score = bias;
        int column = 0;
        if (line[0] == '\n' || line[0] == '\r') continue;
        for (char *cell = strtok(line, ",\r\n"); cell && column < columns; cell = strtok(NULL, ",\r\n"), column++)
            if (by_column[column] != 0) score += by_column[column] * atof(cell);
        if (column != columns) return fail("a record has too few columns");
        score = 1 / (1 + exp(-score));
        total += score;
        high += score > 0.5;
        records++;
    }
    if (!records) return fail("no records on stdin");
    printf("records %ld\nmean risk %.4f\nhigh risk %ld\n", records, total / records, high);
    return 0;
}
