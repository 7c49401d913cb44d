/* Builds and walks argv[1] binary trees of depth 16 on the heap; prints the number of nodes. */
#include <stdio.h>
#include <stdlib.h>

struct node { struct node *left, *right; };

static struct node *grow(int depth) {
    struct node *n = malloc(sizeof *n);
    if (!n) exit(1);
    n->left = depth ? grow(depth - 1) : 0;
    n->right = depth ? grow(depth - 1) : 0;
    return n;
}

static long fell(struct node *n) {
    long count = 1;
    if (n->left) count += fell(n->left) + fell(n->right);
    free(n);
    return count;
}

int main(int argc, char **argv) {
    long nodes = 0;
    for (int i = argc > 1 ? atoi(argv[1]) : 1; i > 0; i--) nodes += fell(grow(16));
    printf("%ld\n", nodes);
    return 0;
}
